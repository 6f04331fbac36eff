//go:build !goplugin_before_1_3

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	anypb "github.com/golang/protobuf/ptypes/any"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
)

// failure is the error of a call; nil if it succeeded.
type failure struct {
	Code    uint32 `json:"code"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	s, _ := status.FromError(err)
	if s == nil {
		s = status.New(codes.Unknown, err.Error())
	}
	return &failure{Code: uint32(s.Code()), Name: s.Code().String(), Message: s.Message()}
}

// start: start, connect, ping, kill. An error of the start is a result.
func start(_ context.Context, s *session) (any, error) {
	var result struct {
		Connect string `json:"connect_error,omitempty"`
		Ping    string `json:"ping_error,omitempty"`
		Pinged  bool   `json:"pinged"`
	}
	if err := s.start(); err != nil {
		if s.started == nil {
			return nil, err
		}
		return result, nil
	}
	if _, err := s.dispense(); err != nil {
		result.Connect = err.Error()
		return result, nil
	}
	if err := s.ping(); err != nil {
		result.Ping = err.Error()
	}
	result.Pinged = result.Ping == ""
	return result, nil
}

// echoMetadata is sent with each echo: text, several values, every byte value, and 64 KiB.
func echoMetadata() metadata.MD {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return metadata.MD{
		"probe-text":     {"one value"},
		"probe-several":  {"first", "second"},
		"probe-data-bin": {string(every)},
		"probe-large":    {strings.Repeat("0123456789abcdef", 4096)},
	}
}

type echoReport struct {
	Error           *failure            `json:"error,omitempty"`
	Ms              float64             `json:"ms"`
	PayloadIntact   bool                `json:"payload_intact"`
	HeadersIntact   bool                `json:"headers_intact"`
	TrailersIntact  bool                `json:"trailers_intact"`
	HeadersSeen     map[string][]string `json:"headers"`
	TrailersSeen    map[string][]string `json:"trailers"`
	PayloadReceived int                 `json:"payload_bytes"`
}

// echo: one call with metadata in both directions.
func echo(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	return echoWith(ctx, client, or(s.size, 1000), echoMetadata()), nil
}

// large: an echo of 64 MiB. A Go plugin accepts that only with --unlimited.
func large(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	return echoWith(ctx, client, or(s.size, 64<<20), metadata.MD{}), nil
}

func echoWith(ctx context.Context, client contracts.ProbeClient, size uint64, sent metadata.MD) *echoReport {
	var headers, trailers metadata.MD
	payload := probe.Pattern(0, size)
	began := time.Now()
	reply, err := client.Echo(metadata.NewOutgoingContext(ctx, sent), &contracts.Payload{Data: payload},
		grpc.Header(&headers), grpc.Trailer(&trailers))
	seen := &echoReport{Error: failureOf(err), Ms: ms(began)}
	seen.HeadersSeen, seen.TrailersSeen = shown(headers), shown(trailers)
	seen.HeadersIntact, seen.TrailersIntact = true, true
	for key, values := range sent {
		seen.HeadersIntact = seen.HeadersIntact && slices.Equal(headers[key], values)
		seen.TrailersIntact = seen.TrailersIntact && slices.Equal(trailers["trailer-"+key], values)
	}
	if err == nil {
		seen.PayloadIntact, seen.PayloadReceived = bytes.Equal(reply.Data, payload), len(reply.Data)
	}
	return seen
}

// shown formats metadata for people: binary values in base64, long values as their hash.
func shown(md metadata.MD) map[string][]string {
	all := map[string][]string{}
	for key, values := range md {
		for _, value := range values {
			if len(value) > 1024 {
				value = "sha256:" + textOf([]byte(value), 0).SHA256
			} else if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			all[key] = append(all[key], value)
		}
	}
	return all
}

// fail: a failing call with a message of 100 KB (or --size), details and a trailer.
func fail(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	unit := "It failed: 100 % of it, \u00fcber alles \u2713\n"
	message := strings.Repeat(unit, int(or(s.size, 100_000))/len(unit)+1)
	sent := &rpcstatus.Status{Code: int32(s.code), Message: message, Details: []*anypb.Any{
		{TypeUrl: "type.example.com/probe", Value: []byte{0, 1, 2, 254, 255}},
	}}
	details, err := proto.Marshal(sent)
	if err != nil {
		return nil, err
	}

	var trailers metadata.MD
	request := &contracts.FailRequest{Code: uint32(s.code), Message: message, Details: details}
	_, err = client.Fail(ctx, request, grpc.Trailer(&trailers))
	var result struct {
		Code          uint32              `json:"code"`
		Name          string              `json:"name"`
		Message       *text               `json:"message"`
		MessageIntact bool                `json:"message_intact"`
		Details       *text               `json:"details"`
		DetailsIntact bool                `json:"details_intact"`
		Trailers      map[string][]string `json:"trailers"`
		TrailerSeen   bool                `json:"trailer_seen"`
	}
	seen, _ := status.FromError(err)
	received, err := proto.Marshal(seen.Proto())
	if err != nil {
		return nil, err
	}
	result.Code, result.Name = uint32(seen.Code()), seen.Code().String()
	result.Message, result.MessageIntact = textOf([]byte(seen.Message()), 4096), seen.Message() == message
	result.Details, result.DetailsIntact = textOf(received, 4096), bytes.Equal(received, details)
	result.Trailers, result.TrailerSeen = shown(trailers), slices.Equal(trailers["probe-failed"], []string{"yes"})
	return result, nil
}
