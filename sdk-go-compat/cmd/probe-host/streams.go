//go:build !goplugin_before_1_3

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
)

type streamReport struct {
	Error    *failure `json:"error,omitempty"`
	Messages uint64   `json:"messages"`
	Bytes    uint64   `json:"bytes"`
	Intact   bool     `json:"intact"`
	Ms       float64  `json:"ms"`
}

// stream: --count messages of --size bytes down, up and in both directions.
func stream(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	return streamWith(ctx, client, s.kind, or(s.count, 1000), or(s.size, 100))
}

func streamWith(ctx context.Context, client contracts.ProbeClient, kind string, count, size uint64) (any, error) {
	kinds := map[string]func(context.Context, contracts.ProbeClient, uint64, uint64, *streamReport) error{
		"download": download, "upload": upload, "chat": chat,
	}
	if kind != "" && kinds[kind] == nil {
		return nil, fmt.Errorf("unknown kind of stream: %q", kind)
	}
	result := map[string]*streamReport{}
	for name, run := range kinds {
		if kind != "" && kind != name {
			continue
		}
		seen := &streamReport{Intact: true}
		began := time.Now()
		err := run(ctx, client, count, size, seen)
		seen.Error, seen.Ms = failureOf(err), ms(began)
		seen.Intact = seen.Intact && err == nil && seen.Messages == count && seen.Bytes == count*size
		result[name] = seen
	}
	return result, nil
}

func download(ctx context.Context, client contracts.ProbeClient, count, size uint64, seen *streamReport) error {
	calls, err := client.Download(ctx, &contracts.DownloadRequest{Count: count, Size: size})
	if err != nil {
		return err
	}
	return receive(calls, size, seen)
}

// receive reads every message and compares it with the expected pattern.
func receive(calls grpc.ClientStream, size uint64, seen *streamReport) error {
	ring := probe.Pattern(0, size+256)
	for {
		payload, err := contracts.Recv[contracts.Payload](calls)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		from := seen.Messages % 256
		seen.Intact = seen.Intact && bytes.Equal(payload.Data, ring[from:from+size])
		seen.Messages++
		seen.Bytes += uint64(len(payload.Data))
	}
}

func upload(ctx context.Context, client contracts.ProbeClient, count, size uint64, seen *streamReport) error {
	calls, err := client.Upload(ctx)
	if err != nil {
		return err
	}
	if err := send(calls, count, size); err != nil {
		return err
	}
	summary, err := contracts.Recv[contracts.UploadSummary](calls)
	if err == nil {
		seen.Messages, seen.Bytes = summary.Messages, summary.Bytes
	}
	return err
}

// send sends the messages and closes the stream. io.EOF from SendMsg means that the answer has the
// error.
func send(calls grpc.ClientStream, count, size uint64) error {
	ring := probe.Pattern(0, size+256)
	for n := uint64(0); n < count; n++ {
		from := n % 256
		err := calls.SendMsg(&contracts.Payload{Data: ring[from : from+size]})
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return calls.CloseSend()
}

func chat(ctx context.Context, client contracts.ProbeClient, count, size uint64, seen *streamReport) error {
	calls, err := client.Chat(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- send(calls, count, size) }()
	if err := receive(calls, size, seen); err != nil {
		return err
	}
	return <-sent
}
