//go:build !goplugin_before_1_3

package main

import (
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc"
)

// message is any message, as its encoded bytes. The codec of every grpc-go takes it for a generated
// message that encodes itself; a separate codec would change the content type of the calls.
type message struct{ bytes []byte }

func (m *message) Reset()                   { m.bytes = nil }
func (m *message) String() string           { return fmt.Sprintf("%d bytes", len(m.bytes)) }
func (*message) ProtoMessage()              {}
func (m *message) Marshal() ([]byte, error) { return m.bytes, nil }

// Unmarshal copies the data, because grpc-go reuses its buffer.
func (m *message) Unmarshal(data []byte) error {
	m.bytes = append([]byte{}, data...)
	return nil
}

// echoServer answers plugwire.probe.v1.Probe/Echo with the request's own bytes.
func echoServer(options []grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(math.MaxInt32))...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugwire.probe.v1.Probe",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
	}, struct{}{})
	return server
}

func echo(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	same := &message{}
	return same, decode(same)
}
