package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

// go-plugin's own services, for a plugin served without it.
const (
	controllerService = "plugin.GRPCController"
	stdioService      = "plugin.GRPCStdio"
	brokerService     = "plugin.GRPCBroker"
)

// StdioData is plugin.StdioData; Channel is 1 for stdout and 2 for stderr.
type StdioData struct {
	Channel int32  `protobuf:"varint,1,opt,name=channel,proto3"`
	Data    []byte `protobuf:"bytes,2,opt,name=data,proto3"`
}

// ConnInfo is plugin.ConnInfo: an announcement, or in multiplexed sessions a knock.
type ConnInfo struct {
	ServiceID uint32 `protobuf:"varint,1,opt,name=service_id,json=serviceId,proto3"`
	Network   string `protobuf:"bytes,2,opt,name=network,proto3"`
	Address   string `protobuf:"bytes,3,opt,name=address,proto3"`
	Knock     *Knock `protobuf:"bytes,4,opt,name=knock,proto3"`
}

// Knock is plugin.Knock; Ack marks the answer to one.
type Knock struct {
	Knock bool   `protobuf:"varint,1,opt,name=knock,proto3"`
	Ack   bool   `protobuf:"varint,2,opt,name=ack,proto3"`
	Error string `protobuf:"bytes,3,opt,name=error,proto3"`
}

func (m *StdioData) Reset() { *m = StdioData{} }
func (m *StdioData) String() string {
	return fmt.Sprintf("channel %d, %d bytes", m.Channel, len(m.Data))
}
func (*StdioData) ProtoMessage() {}

func (m *ConnInfo) Reset()         { *m = ConnInfo{} }
func (m *ConnInfo) String() string { return fmt.Sprintf("%+v", *m) }
func (*ConnInfo) ProtoMessage()    {}

func (m *Knock) Reset()         { *m = Knock{} }
func (m *Knock) String() string { return fmt.Sprintf("%+v", *m) }
func (*Knock) ProtoMessage()    {}

// Controller is the service through which a host asks a plugin to exit.
type Controller interface {
	Shutdown(context.Context, *Empty) (*Empty, error)
}

// Stdio streams the plugin's output as StdioData.
type Stdio interface {
	StreamStdio(*Empty, grpc.ServerStream) error
}

// Broker has a stream of announcements, ConnInfo in both directions.
type Broker interface {
	StartStream(grpc.ServerStream) error
}

var controllerDesc = grpc.ServiceDesc{
	ServiceName: controllerService,
	HandlerType: (*Controller)(nil),
	Methods:     []grpc.MethodDesc{unary(controllerService, "Shutdown", Controller.Shutdown)},
	Metadata:    "plugin/controller.proto",
}

var stdioDesc = grpc.ServiceDesc{
	ServiceName: stdioService,
	HandlerType: (*Stdio)(nil),
	Streams:     []grpc.StreamDesc{serverStream("StreamStdio", Stdio.StreamStdio)},
	Metadata:    "plugin/stdio.proto",
}

var brokerDesc = grpc.ServiceDesc{
	ServiceName: brokerService,
	HandlerType: (*Broker)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName:    "StartStream",
		Handler:       func(srv any, stream grpc.ServerStream) error { return srv.(Broker).StartStream(stream) },
		ServerStreams: true,
		ClientStreams: true,
	}},
	Metadata: "plugin/broker.proto",
}

// RegisterController adds the service to a server.
func RegisterController(server *grpc.Server, c Controller) {
	server.RegisterService(&controllerDesc, c)
}

// RegisterStdio adds the service to a server.
func RegisterStdio(server *grpc.Server, s Stdio) { server.RegisterService(&stdioDesc, s) }

// RegisterBroker adds the service to a server.
func RegisterBroker(server *grpc.Server, b Broker) { server.RegisterService(&brokerDesc, b) }

// StartBroker opens plugin.GRPCBroker/StartStream.
func StartBroker(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &brokerDesc.Streams[0], "/"+brokerService+"/StartStream")
}

// Shutdown calls plugin.GRPCController/Shutdown.
func Shutdown(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := invoke[Empty](ctx, conn, "/"+controllerService+"/Shutdown", &Empty{}, nil)
	return err
}
