package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

const healthService = "grpc.health.v1.Health"

// The statuses of grpc.health.v1.
const (
	HealthUnknown        int32 = 0
	HealthServing        int32 = 1
	HealthNotServing     int32 = 2
	HealthServiceUnknown int32 = 3
)

// HealthRequest is grpc.health.v1.HealthCheckRequest.
type HealthRequest struct {
	Service string `protobuf:"bytes,1,opt,name=service,proto3"`
}

// HealthResponse is grpc.health.v1.HealthCheckResponse; its enum is encoded as a number.
type HealthResponse struct {
	Status int32 `protobuf:"varint,1,opt,name=status,proto3"`
}

// HealthListResponse is grpc.health.v1.HealthListResponse.
type HealthListResponse struct {
	Statuses map[string]*HealthResponse `protobuf:"bytes,1,rep,name=statuses,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3"`
}

func (m *HealthRequest) Reset()         { *m = HealthRequest{} }
func (m *HealthRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*HealthRequest) ProtoMessage()    {}

func (m *HealthResponse) Reset()         { *m = HealthResponse{} }
func (m *HealthResponse) String() string { return fmt.Sprintf("%+v", *m) }
func (*HealthResponse) ProtoMessage()    {}

func (m *HealthListResponse) Reset()         { *m = HealthListResponse{} }
func (m *HealthListResponse) String() string { return fmt.Sprintf("%+v", *m) }
func (*HealthListResponse) ProtoMessage()    {}

// Health is the part of grpc.health.v1.Health that go-plugin's hosts call.
type Health interface {
	Check(context.Context, *HealthRequest) (*HealthResponse, error)
	Watch(*HealthRequest, grpc.ServerStream) error
}

var healthDesc = grpc.ServiceDesc{
	ServiceName: healthService,
	HandlerType: (*Health)(nil),
	Methods:     []grpc.MethodDesc{unary(healthService, "Check", Health.Check)},
	Streams:     []grpc.StreamDesc{serverStream("Watch", Health.Watch)},
	Metadata:    "grpc/health/v1/health.proto",
}

// RegisterHealth adds the service to a server.
func RegisterHealth(server *grpc.Server, health Health) { server.RegisterService(&healthDesc, health) }

// HealthClient calls the service. Unlike grpc-go's own client, it has List with every release.
type HealthClient struct{ Conn *grpc.ClientConn }

// Check calls Health/Check.
func (c HealthClient) Check(ctx context.Context, in *HealthRequest, opts ...grpc.CallOption) (*HealthResponse, error) {
	return invoke[HealthResponse](ctx, c.Conn, "/"+healthService+"/Check", in, opts)
}

// List calls Health/List, which grpc-go serves since 1.71.
func (c HealthClient) List(ctx context.Context, opts ...grpc.CallOption) (*HealthListResponse, error) {
	return invoke[HealthListResponse](ctx, c.Conn, "/"+healthService+"/List", &Empty{}, opts)
}

// Watch calls Health/Watch; the stream yields HealthResponse.
func (c HealthClient) Watch(ctx context.Context, in *HealthRequest, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(ctx, c.Conn, "/"+healthService+"/Watch", in, opts)
}
