// Package probe is the plugin side of plugwire.probe.v1: each call makes one behaviour observable.
package probe

import (
	"context"
	"io"
	"strings"

	"github.com/golang/protobuf/proto"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// Service implements contracts.Probe.
type Service struct {
	hangs hangs
}

// New creates a service without hanging calls.
func New() *Service { return &Service{hangs: hangs{byID: map[string]*hang{}}} }

// Echo returns the payload, and the test's metadata in both headers and trailers.
func (*Service) Echo(ctx context.Context, in *contracts.Payload) (*contracts.Payload, error) {
	headers, trailers := metadata.MD{}, metadata.MD{}
	received, _ := metadata.FromIncomingContext(ctx)
	for key, values := range received {
		if strings.HasPrefix(key, "probe-") {
			headers[key] = values
			trailers["trailer-"+key] = values
		}
	}
	if err := grpc.SetHeader(ctx, headers); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, trailers); err != nil {
		return nil, err
	}
	return &contracts.Payload{Data: in.Data}, nil
}

// Pattern returns message n of a download: byte i is (n + i) mod 256.
func Pattern(n, size uint64) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(n + uint64(i))
	}
	return data
}

// Download sends count messages of size bytes.
func (*Service) Download(in *contracts.DownloadRequest, stream grpc.ServerStream) error {
	if in.Size > 1<<30 {
		return status.Error(codes.InvalidArgument, "a message of more than 1 GiB")
	}
	for n := uint64(0); n < in.Count; n++ {
		if err := stream.SendMsg(&contracts.Payload{Data: Pattern(n, in.Size)}); err != nil {
			return err
		}
	}
	return nil
}

// Upload counts what arrives.
func (*Service) Upload(stream grpc.ServerStream) error {
	var summary contracts.UploadSummary
	for {
		payload, err := contracts.Recv[contracts.Payload](stream)
		if err == io.EOF {
			return stream.SendMsg(&summary)
		}
		if err != nil {
			return err
		}
		summary.Messages++
		summary.Bytes += uint64(len(payload.Data))
	}
}

// Chat returns each message as it arrives.
func (*Service) Chat(stream grpc.ServerStream) error {
	for {
		payload, err := contracts.Recv[contracts.Payload](stream)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(payload); err != nil {
			return err
		}
	}
}

// Fail fails as requested. grpc-go owns the details header and writes it from a decoded status, so
// the details must be a valid one; code and message come from the request.
func (*Service) Fail(ctx context.Context, in *contracts.FailRequest) (*contracts.Payload, error) {
	if err := grpc.SetTrailer(ctx, metadata.Pairs("probe-failed", "yes")); err != nil {
		return nil, err
	}
	var details rpcstatus.Status
	if err := proto.Unmarshal(in.Details, &details); err != nil {
		return nil, status.Error(codes.InvalidArgument, "details are not a google.rpc.Status: "+err.Error())
	}
	details.Code, details.Message = int32(in.Code), in.Message
	return nil, status.ErrorProto(&details)
}
