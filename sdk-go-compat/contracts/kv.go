package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

const kvService = "proto.KV"

// KVGetRequest is proto.GetRequest.
type KVGetRequest struct {
	Key string `protobuf:"bytes,1,opt,name=key,proto3"`
}

// KVGetResponse is proto.GetResponse.
type KVGetResponse struct {
	Value []byte `protobuf:"bytes,1,opt,name=value,proto3"`
}

// KVPutRequest is proto.PutRequest.
type KVPutRequest struct {
	Key   string `protobuf:"bytes,1,opt,name=key,proto3"`
	Value []byte `protobuf:"bytes,2,opt,name=value,proto3"`
}

// Empty has no fields: proto.Empty, plugin.Empty and google.protobuf.Empty alike.
type Empty struct{}

func (m *KVGetRequest) Reset()         { *m = KVGetRequest{} }
func (m *KVGetRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*KVGetRequest) ProtoMessage()    {}

func (m *KVGetResponse) Reset()         { *m = KVGetResponse{} }
func (m *KVGetResponse) String() string { return fmt.Sprintf("%+v", *m) }
func (*KVGetResponse) ProtoMessage()    {}

func (m *KVPutRequest) Reset()         { *m = KVPutRequest{} }
func (m *KVPutRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*KVPutRequest) ProtoMessage()    {}

func (m *Empty) Reset()         { *m = Empty{} }
func (m *Empty) String() string { return "{}" }
func (*Empty) ProtoMessage()    {}

// KV is the service of go-plugin's examples/grpc.
type KV interface {
	Get(context.Context, *KVGetRequest) (*KVGetResponse, error)
	Put(context.Context, *KVPutRequest) (*Empty, error)
}

var kvDesc = grpc.ServiceDesc{
	ServiceName: kvService,
	HandlerType: (*KV)(nil),
	Methods:     []grpc.MethodDesc{unary(kvService, "Get", KV.Get), unary(kvService, "Put", KV.Put)},
	Metadata:    "kv/kv.proto",
}

// RegisterKV adds the service to a server.
func RegisterKV(server *grpc.Server, kv KV) { server.RegisterService(&kvDesc, kv) }

// KVClient calls the service.
type KVClient struct{ Conn *grpc.ClientConn }

// Get calls proto.KV/Get.
func (c KVClient) Get(ctx context.Context, in *KVGetRequest, opts ...grpc.CallOption) (*KVGetResponse, error) {
	return invoke[KVGetResponse](ctx, c.Conn, "/proto.KV/Get", in, opts)
}

// Put calls proto.KV/Put.
func (c KVClient) Put(ctx context.Context, in *KVPutRequest, opts ...grpc.CallOption) (*Empty, error) {
	return invoke[Empty](ctx, c.Conn, "/proto.KV/Put", in, opts)
}
