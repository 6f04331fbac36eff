package contracts

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
)

// ReflectionRequest is grpc.reflection.v1.ServerReflectionRequest, and v1alpha's too. Encoded, a
// oneof consists of ordinary fields; set only one.
type ReflectionRequest struct {
	Symbol string `protobuf:"bytes,4,opt,name=file_containing_symbol,proto3"`
	// The content of ListServices is ignored, but it must not be empty.
	ListServices string `protobuf:"bytes,7,opt,name=list_services,proto3"`
}

// ReflectionResponse has the used part of ServerReflectionResponse.
type ReflectionResponse struct {
	Files    *ReflectionFiles    `protobuf:"bytes,4,opt,name=file_descriptor_response,proto3"`
	Services *ReflectionServices `protobuf:"bytes,6,opt,name=list_services_response,proto3"`
	Error    *ReflectionError    `protobuf:"bytes,7,opt,name=error_response,proto3"`
}

// ReflectionFiles holds encoded file descriptors.
type ReflectionFiles struct {
	Descriptors [][]byte `protobuf:"bytes,1,rep,name=file_descriptor_proto,proto3"`
}

// ReflectionServices is the list of services.
type ReflectionServices struct {
	Service []*ReflectionService `protobuf:"bytes,1,rep,name=service,proto3"`
}

// ReflectionService is one service of that list.
type ReflectionService struct {
	Name string `protobuf:"bytes,1,opt,name=name,proto3"`
}

// ReflectionError is an answer within the stream.
type ReflectionError struct {
	Code    int32  `protobuf:"varint,1,opt,name=error_code,proto3"`
	Message string `protobuf:"bytes,2,opt,name=error_message,proto3"`
}

func (m *ReflectionRequest) Reset()         { *m = ReflectionRequest{} }
func (m *ReflectionRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReflectionRequest) ProtoMessage()    {}

func (m *ReflectionResponse) Reset()         { *m = ReflectionResponse{} }
func (m *ReflectionResponse) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReflectionResponse) ProtoMessage()    {}

func (m *ReflectionFiles) Reset()         { *m = ReflectionFiles{} }
func (m *ReflectionFiles) String() string { return fmt.Sprintf("%d files", len(m.Descriptors)) }
func (*ReflectionFiles) ProtoMessage()    {}

func (m *ReflectionServices) Reset()         { *m = ReflectionServices{} }
func (m *ReflectionServices) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReflectionServices) ProtoMessage()    {}

func (m *ReflectionService) Reset()         { *m = ReflectionService{} }
func (m *ReflectionService) String() string { return m.Name }
func (*ReflectionService) ProtoMessage()    {}

func (m *ReflectionError) Reset()         { *m = ReflectionError{} }
func (m *ReflectionError) String() string { return fmt.Sprintf("%+v", *m) }
func (*ReflectionError) ProtoMessage()    {}

// Reflect opens the reflection stream of "v1" or "v1alpha".
func Reflect(ctx context.Context, conn *grpc.ClientConn, version string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	return conn.NewStream(ctx, desc, "/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo", opts...)
}
