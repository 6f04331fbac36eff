package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

const brokerProbeService = "plugwire.probe.v1.BrokerProbe"

// OfferRequest asks the other side to serve an id.
type OfferRequest struct {
	DelayMs uint64 `protobuf:"varint,1,opt,name=delay_ms,json=delayMs,proto3"`
	Raw     bool   `protobuf:"varint,2,opt,name=raw,proto3"`
}

// OfferReply names it.
type OfferReply struct {
	ID uint32 `protobuf:"varint,1,opt,name=id,proto3"`
}

// DialBackRequest asks the other side to dial an id of the caller's.
type DialBackRequest struct {
	ID    uint32 `protobuf:"varint,1,opt,name=id,proto3"`
	Data  []byte `protobuf:"bytes,2,opt,name=data,proto3"`
	Count uint64 `protobuf:"varint,3,opt,name=count,proto3"`
	Size  uint64 `protobuf:"varint,4,opt,name=size,proto3"`
}

// DialBackReport is what that came to.
type DialBackReport struct {
	Dialled   bool   `protobuf:"varint,1,opt,name=dialled,proto3" json:"dialled"`
	DialError string `protobuf:"bytes,2,opt,name=dial_error,json=dialError,proto3" json:"dial_error,omitempty"`
	DialMs    uint64 `protobuf:"varint,3,opt,name=dial_ms,json=dialMs,proto3" json:"dial_ms"`
	Code      uint32 `protobuf:"varint,4,opt,name=code,proto3" json:"code"`
	Message   string `protobuf:"bytes,5,opt,name=message,proto3" json:"message,omitempty"`
	CallMs    uint64 `protobuf:"varint,6,opt,name=call_ms,json=callMs,proto3" json:"call_ms"`
	Data      []byte `protobuf:"bytes,7,opt,name=data,proto3" json:"-"`
	Messages  uint64 `protobuf:"varint,8,opt,name=messages,proto3" json:"messages"`
}

// NestRequest asks for a callback within a callback.
type NestRequest struct {
	ID    uint32 `protobuf:"varint,1,opt,name=id,proto3"`
	Depth uint32 `protobuf:"varint,2,opt,name=depth,proto3"`
	Data  []byte `protobuf:"bytes,3,opt,name=data,proto3"`
}

// NestReply has one byte more for each depth.
type NestReply struct {
	Data []byte `protobuf:"bytes,1,opt,name=data,proto3"`
}

func (m *OfferRequest) Reset()         { *m = OfferRequest{} }
func (m *OfferRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*OfferRequest) ProtoMessage()    {}

func (m *OfferReply) Reset()         { *m = OfferReply{} }
func (m *OfferReply) String() string { return fmt.Sprintf("%+v", *m) }
func (*OfferReply) ProtoMessage()    {}

func (m *DialBackRequest) Reset()         { *m = DialBackRequest{} }
func (m *DialBackRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*DialBackRequest) ProtoMessage()    {}

func (m *DialBackReport) Reset()         { *m = DialBackReport{} }
func (m *DialBackReport) String() string { return fmt.Sprintf("%+v", *m) }
func (*DialBackReport) ProtoMessage()    {}

func (m *NestRequest) Reset()         { *m = NestRequest{} }
func (m *NestRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*NestRequest) ProtoMessage()    {}

func (m *NestReply) Reset()         { *m = NestReply{} }
func (m *NestReply) String() string { return fmt.Sprintf("%+v", *m) }
func (*NestReply) ProtoMessage()    {}

// BrokerProbe is plugwire.probe.v1.BrokerProbe; proto/probe/broker_probe.proto says what each call does.
type BrokerProbe interface {
	Offer(context.Context, *OfferRequest) (*OfferReply, error)
	DialBack(context.Context, *DialBackRequest) (*DialBackReport, error)
	Nest(context.Context, *NestRequest) (*NestReply, error)
}

var brokerProbeDesc = grpc.ServiceDesc{
	ServiceName: brokerProbeService,
	HandlerType: (*BrokerProbe)(nil),
	Methods: []grpc.MethodDesc{
		unary(brokerProbeService, "Offer", BrokerProbe.Offer),
		unary(brokerProbeService, "DialBack", BrokerProbe.DialBack),
		unary(brokerProbeService, "Nest", BrokerProbe.Nest),
	},
	Metadata: "probe/broker_probe.proto",
}

// RegisterBrokerProbe adds the service to a server.
func RegisterBrokerProbe(server *grpc.Server, probe BrokerProbe) {
	server.RegisterService(&brokerProbeDesc, probe)
}

// BrokerProbeClient calls it.
type BrokerProbeClient struct{ Conn *grpc.ClientConn }

// Offer calls BrokerProbe/Offer.
func (c BrokerProbeClient) Offer(ctx context.Context, in *OfferRequest, opts ...grpc.CallOption) (*OfferReply, error) {
	return invoke[OfferReply](ctx, c.Conn, "/"+brokerProbeService+"/Offer", in, opts)
}

// DialBack calls BrokerProbe/DialBack.
func (c BrokerProbeClient) DialBack(ctx context.Context, in *DialBackRequest, opts ...grpc.CallOption) (*DialBackReport, error) {
	return invoke[DialBackReport](ctx, c.Conn, "/"+brokerProbeService+"/DialBack", in, opts)
}

// Nest calls BrokerProbe/Nest.
func (c BrokerProbeClient) Nest(ctx context.Context, in *NestRequest, opts ...grpc.CallOption) (*NestReply, error) {
	return invoke[NestReply](ctx, c.Conn, "/"+brokerProbeService+"/Nest", in, opts)
}
