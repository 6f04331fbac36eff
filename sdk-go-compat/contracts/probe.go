package contracts

import (
	"context"

	"google.golang.org/grpc"
)

const probeService = "plugwire.probe.v1.Probe"

// Probe is plugwire.probe.v1.Probe; proto/probe/probe.proto documents each call.
type Probe interface {
	Echo(context.Context, *Payload) (*Payload, error)
	Download(*DownloadRequest, grpc.ServerStream) error
	Upload(grpc.ServerStream) error
	Chat(grpc.ServerStream) error
	Fail(context.Context, *FailRequest) (*Payload, error)
	Hang(context.Context, *HangRequest) (*Payload, error)
	HangStream(*HangRequest, grpc.ServerStream) error
	AwaitHang(context.Context, *AwaitHangRequest) (*HangReport, error)
	Print(context.Context, *PrintRequest) (*Payload, error)
	Die(context.Context, *DieRequest) (*Payload, error)
	Inspect(context.Context, *InspectRequest) (*InspectReport, error)
}

var probeDesc = grpc.ServiceDesc{
	ServiceName: probeService,
	HandlerType: (*Probe)(nil),
	Methods: []grpc.MethodDesc{
		unary(probeService, "Echo", Probe.Echo),
		unary(probeService, "Fail", Probe.Fail),
		unary(probeService, "Hang", Probe.Hang),
		unary(probeService, "AwaitHang", Probe.AwaitHang),
		unary(probeService, "Print", Probe.Print),
		unary(probeService, "Die", Probe.Die),
		unary(probeService, "Inspect", Probe.Inspect),
	},
	Streams: []grpc.StreamDesc{
		serverStream("Download", Probe.Download),
		serverStream("HangStream", Probe.HangStream),
		{
			StreamName:    "Upload",
			Handler:       func(srv any, stream grpc.ServerStream) error { return srv.(Probe).Upload(stream) },
			ClientStreams: true,
		},
		{
			StreamName:    "Chat",
			Handler:       func(srv any, stream grpc.ServerStream) error { return srv.(Probe).Chat(stream) },
			ServerStreams: true,
			ClientStreams: true,
		},
	},
	Metadata: "probe/probe.proto",
}

// RegisterProbe adds the service to a server.
func RegisterProbe(server *grpc.Server, probe Probe) { server.RegisterService(&probeDesc, probe) }

// ProbeClient calls the service.
type ProbeClient struct{ Conn *grpc.ClientConn }

// Echo calls Probe/Echo.
func (c ProbeClient) Echo(ctx context.Context, in *Payload, opts ...grpc.CallOption) (*Payload, error) {
	return invoke[Payload](ctx, c.Conn, "/"+probeService+"/Echo", in, opts)
}

// Download calls Probe/Download; the stream yields Payload.
func (c ProbeClient) Download(ctx context.Context, in *DownloadRequest, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(ctx, c.Conn, "/"+probeService+"/Download", in, opts)
}

// Upload calls Probe/Upload; the stream takes Payload and yields one UploadSummary.
func (c ProbeClient) Upload(ctx context.Context, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.Conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/"+probeService+"/Upload", opts...)
}

// Chat calls Probe/Chat; the stream takes and yields Payload.
func (c ProbeClient) Chat(ctx context.Context, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	return c.Conn.NewStream(ctx, desc, "/"+probeService+"/Chat", opts...)
}

// Fail calls Probe/Fail.
func (c ProbeClient) Fail(ctx context.Context, in *FailRequest, opts ...grpc.CallOption) (*Payload, error) {
	return invoke[Payload](ctx, c.Conn, "/"+probeService+"/Fail", in, opts)
}

// Hang calls Probe/Hang.
func (c ProbeClient) Hang(ctx context.Context, in *HangRequest, opts ...grpc.CallOption) (*Payload, error) {
	return invoke[Payload](ctx, c.Conn, "/"+probeService+"/Hang", in, opts)
}

// HangStream calls Probe/HangStream; the stream yields Payload.
func (c ProbeClient) HangStream(ctx context.Context, in *HangRequest, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(ctx, c.Conn, "/"+probeService+"/HangStream", in, opts)
}

// AwaitHang calls Probe/AwaitHang.
func (c ProbeClient) AwaitHang(ctx context.Context, in *AwaitHangRequest, opts ...grpc.CallOption) (*HangReport, error) {
	return invoke[HangReport](ctx, c.Conn, "/"+probeService+"/AwaitHang", in, opts)
}

// Print calls Probe/Print.
func (c ProbeClient) Print(ctx context.Context, in *PrintRequest, opts ...grpc.CallOption) (*Payload, error) {
	return invoke[Payload](ctx, c.Conn, "/"+probeService+"/Print", in, opts)
}

// Die calls Probe/Die.
func (c ProbeClient) Die(ctx context.Context, in *DieRequest, opts ...grpc.CallOption) (*Payload, error) {
	return invoke[Payload](ctx, c.Conn, "/"+probeService+"/Die", in, opts)
}

// Inspect calls Probe/Inspect.
func (c ProbeClient) Inspect(ctx context.Context, opts ...grpc.CallOption) (*InspectReport, error) {
	return invoke[InspectReport](ctx, c.Conn, "/"+probeService+"/Inspect", &InspectRequest{}, opts)
}
