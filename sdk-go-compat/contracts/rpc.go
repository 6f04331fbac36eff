// Package contracts holds the contracts of the directory proto/ as plain Go: structs with protobuf
// tags, and service tables. Generated code would be tied to one generation of grpc-go; this works
// from 1.14 to the newest.
package contracts

import (
	"context"

	"google.golang.org/grpc"
)

// unary is the table entry of a call with one request and one answer. S is the service's interface.
func unary[S, In, Out any](service, name string, call func(S, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	full := "/" + service + "/" + name
	handler := func(srv any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		run := func(ctx context.Context, in any) (any, error) { return call(srv.(S), ctx, in.(*In)) }
		if around == nil {
			return run(ctx, in)
		}
		return around(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, run)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

// serverStream is the table entry of a call with one request and many answers.
func serverStream[S, In any](name string, call func(S, *In, grpc.ServerStream) error) grpc.StreamDesc {
	handler := func(srv any, stream grpc.ServerStream) error {
		in := new(In)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return call(srv.(S), in, stream)
	}
	return grpc.StreamDesc{StreamName: name, Handler: handler, ServerStreams: true}
}

// invoke makes a call with one answer.
func invoke[Out any](ctx context.Context, conn *grpc.ClientConn, method string, in any, opts []grpc.CallOption) (*Out, error) {
	out := new(Out)
	if err := conn.Invoke(ctx, method, in, out, opts...); err != nil {
		return nil, err
	}
	return out, nil
}

// open starts a call with many answers to one request.
func open(ctx context.Context, conn *grpc.ClientConn, method string, in any, opts []grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, opts...)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(in); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// Recv receives the next message of a stream, of either role.
func Recv[M any](stream interface{ RecvMsg(any) error }) (*M, error) {
	message := new(M)
	if err := stream.RecvMsg(message); err != nil {
		return nil, err
	}
	return message, nil
}
