package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

const greeterService = "greeter.Greeter"

// GreetRequest is greeter.GreetRequest.
type GreetRequest struct {
	Name string `protobuf:"bytes,1,opt,name=name,proto3"`
}

// GreetResponse is greeter.GreetResponse.
type GreetResponse struct {
	Message string `protobuf:"bytes,1,opt,name=message,proto3"`
}

func (m *GreetRequest) Reset()         { *m = GreetRequest{} }
func (m *GreetRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*GreetRequest) ProtoMessage()    {}

func (m *GreetResponse) Reset()         { *m = GreetResponse{} }
func (m *GreetResponse) String() string { return fmt.Sprintf("%+v", *m) }
func (*GreetResponse) ProtoMessage()    {}

// Greeter is the service of the tutorial.
type Greeter interface {
	Greet(context.Context, *GreetRequest) (*GreetResponse, error)
}

var greeterDesc = grpc.ServiceDesc{
	ServiceName: greeterService,
	HandlerType: (*Greeter)(nil),
	Methods:     []grpc.MethodDesc{unary(greeterService, "Greet", Greeter.Greet)},
	Metadata:    "greeter/greeter.proto",
}

// RegisterGreeter adds the service to a server.
func RegisterGreeter(server *grpc.Server, greeter Greeter) {
	server.RegisterService(&greeterDesc, greeter)
}

// GreeterClient calls the service.
type GreeterClient struct{ Conn *grpc.ClientConn }

// Greet calls greeter.Greeter/Greet.
func (c GreeterClient) Greet(ctx context.Context, in *GreetRequest, opts ...grpc.CallOption) (*GreetResponse, error) {
	return invoke[GreetResponse](ctx, c.Conn, "/greeter.Greeter/Greet", in, opts)
}
