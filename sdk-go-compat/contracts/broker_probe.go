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

// OfferReply names the id.
type OfferReply struct {
	ID uint32 `protobuf:"varint,1,opt,name=id,proto3"`
}

// DialBackRequest asks the other side to dial an id of the caller.
type DialBackRequest struct {
	ID    uint32 `protobuf:"varint,1,opt,name=id,proto3"`
	Data  []byte `protobuf:"bytes,2,opt,name=data,proto3"`
	Count uint64 `protobuf:"varint,3,opt,name=count,proto3"`
	Size  uint64 `protobuf:"varint,4,opt,name=size,proto3"`
}

// DialBackReport is the result of that dial.
type DialBackReport struct {
	Dialled   bool   `protobuf:"varint,1,opt,name=dialled,proto3" json:"dialled"`
	DialError string `protobuf:"bytes,2,opt,name=dial_error,json=dialError,proto3" json:"dial_error,omitempty"`
	DialMs    uint64 `protobuf:"varint,3,opt,name=dial_ms,json=dialMs,proto3" json:"dial_ms"`
	Code      uint32 `protobuf:"varint,4,opt,name=code,proto3" json:"code"`
	Message   string `protobuf:"bytes,5,opt,name=message,proto3" json:"message,omitempty"`
	CallMs    uint64 `protobuf:"varint,6,opt,name=call_ms,json=callMs,proto3" json:"call_ms"`
	Data      []byte `protobuf:"bytes,7,opt,name=data,proto3" json:"-"`
	Messages  uint64 `protobuf:"varint,8,opt,name=messages,proto3" json:"messages"`
	ServedID  uint32 `protobuf:"varint,9,opt,name=served_id,json=servedId,proto3" json:"served_id"`
}

// NestRequest asks for a callback within a callback.
type NestRequest struct {
	ID    uint32 `protobuf:"varint,1,opt,name=id,proto3"`
	Depth uint32 `protobuf:"varint,2,opt,name=depth,proto3"`
	Data  []byte `protobuf:"bytes,3,opt,name=data,proto3"`
}

// NestReply has one more byte for each depth.
type NestReply struct {
	Data []byte `protobuf:"bytes,1,opt,name=data,proto3"`
}

// ReleaseRequest asks the other side to stop serving an id.
type ReleaseRequest struct {
	ID uint32 `protobuf:"varint,1,opt,name=id,proto3"`
}

// ReleaseReply is empty.
type ReleaseReply struct{}

// HoldRequest asks the other side to keep a stream open at an id of the caller.
type HoldRequest struct {
	ID   uint32 `protobuf:"varint,1,opt,name=id,proto3"`
	File string `protobuf:"bytes,2,opt,name=file,proto3"`
}

// HoldReply is empty.
type HoldReply struct{}

// HoldingsRequest is empty.
type HoldingsRequest struct{}

// HoldingsReply lists the resources that a process holds.
type HoldingsReply struct {
	Descriptors   uint64 `protobuf:"varint,1,opt,name=descriptors,proto3"`
	Tasks         uint64 `protobuf:"varint,2,opt,name=tasks,proto3"`
	ResidentBytes uint64 `protobuf:"varint,3,opt,name=resident_bytes,json=residentBytes,proto3"`
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

func (m *ReleaseRequest) Reset()         { *m = ReleaseRequest{} }
func (m *ReleaseRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReleaseRequest) ProtoMessage()    {}

func (m *ReleaseReply) Reset()         { *m = ReleaseReply{} }
func (m *ReleaseReply) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReleaseReply) ProtoMessage()    {}

func (m *HoldRequest) Reset()         { *m = HoldRequest{} }
func (m *HoldRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*HoldRequest) ProtoMessage()    {}

func (m *HoldReply) Reset()         { *m = HoldReply{} }
func (m *HoldReply) String() string { return fmt.Sprintf("%+v", *m) }
func (*HoldReply) ProtoMessage()    {}

func (m *HoldingsRequest) Reset()         { *m = HoldingsRequest{} }
func (m *HoldingsRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*HoldingsRequest) ProtoMessage()    {}

func (m *HoldingsReply) Reset()         { *m = HoldingsReply{} }
func (m *HoldingsReply) String() string { return fmt.Sprintf("%+v", *m) }
func (*HoldingsReply) ProtoMessage()    {}

// BrokerProbe is plugwire.probe.v1.BrokerProbe; proto/probe/broker_probe.proto documents each call.
type BrokerProbe interface {
	Offer(context.Context, *OfferRequest) (*OfferReply, error)
	DialBack(context.Context, *DialBackRequest) (*DialBackReport, error)
	Nest(context.Context, *NestRequest) (*NestReply, error)
	Release(context.Context, *ReleaseRequest) (*ReleaseReply, error)
	Hold(context.Context, *HoldRequest) (*HoldReply, error)
	Holdings(context.Context, *HoldingsRequest) (*HoldingsReply, error)
}

var brokerProbeDesc = grpc.ServiceDesc{
	ServiceName: brokerProbeService,
	HandlerType: (*BrokerProbe)(nil),
	Methods: []grpc.MethodDesc{
		unary(brokerProbeService, "Offer", BrokerProbe.Offer),
		unary(brokerProbeService, "DialBack", BrokerProbe.DialBack),
		unary(brokerProbeService, "Nest", BrokerProbe.Nest),
		unary(brokerProbeService, "Release", BrokerProbe.Release),
		unary(brokerProbeService, "Hold", BrokerProbe.Hold),
		unary(brokerProbeService, "Holdings", BrokerProbe.Holdings),
	},
	Metadata: "probe/broker_probe.proto",
}

// RegisterBrokerProbe adds the service to a server.
func RegisterBrokerProbe(server *grpc.Server, probe BrokerProbe) {
	server.RegisterService(&brokerProbeDesc, probe)
}

// BrokerProbeClient calls the service.
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

// Release calls BrokerProbe/Release.
func (c BrokerProbeClient) Release(ctx context.Context, in *ReleaseRequest, opts ...grpc.CallOption) (*ReleaseReply, error) {
	return invoke[ReleaseReply](ctx, c.Conn, "/"+brokerProbeService+"/Release", in, opts)
}

// Hold calls BrokerProbe/Hold.
func (c BrokerProbeClient) Hold(ctx context.Context, in *HoldRequest, opts ...grpc.CallOption) (*HoldReply, error) {
	return invoke[HoldReply](ctx, c.Conn, "/"+brokerProbeService+"/Hold", in, opts)
}

// Holdings calls BrokerProbe/Holdings.
func (c BrokerProbeClient) Holdings(ctx context.Context, in *HoldingsRequest, opts ...grpc.CallOption) (*HoldingsReply, error) {
	return invoke[HoldingsReply](ctx, c.Conn, "/"+brokerProbeService+"/Holdings", in, opts)
}
