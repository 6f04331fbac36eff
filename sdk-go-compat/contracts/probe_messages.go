package contracts

import "fmt"

// Payload carries bytes.
type Payload struct {
	Data []byte `protobuf:"bytes,1,opt,name=data,proto3"`
}

// DownloadRequest asks for Count messages of Size bytes.
type DownloadRequest struct {
	Count uint64 `protobuf:"varint,1,opt,name=count,proto3"`
	Size  uint64 `protobuf:"varint,2,opt,name=size,proto3"`
}

// UploadSummary counts what arrived.
type UploadSummary struct {
	Messages uint64 `protobuf:"varint,1,opt,name=messages,proto3"`
	Bytes    uint64 `protobuf:"varint,2,opt,name=bytes,proto3"`
}

// FailRequest says how to fail. Details is an encoded google.rpc.Status.
type FailRequest struct {
	Code    uint32 `protobuf:"varint,1,opt,name=code,proto3"`
	Message string `protobuf:"bytes,2,opt,name=message,proto3"`
	Details []byte `protobuf:"bytes,3,opt,name=details,proto3"`
}

// HangRequest names a call that never answers.
type HangRequest struct {
	ID string `protobuf:"bytes,1,opt,name=id,proto3"`
}

// AwaitHangRequest waits for that call to begin and, if asked, to be cancelled.
type AwaitHangRequest struct {
	ID        string `protobuf:"bytes,1,opt,name=id,proto3"`
	Cancelled bool   `protobuf:"varint,2,opt,name=cancelled,proto3"`
	WaitMs    uint64 `protobuf:"varint,3,opt,name=wait_ms,json=waitMs,proto3"`
}

// HangReport tells what happened to that call.
type HangReport struct {
	Started   bool   `protobuf:"varint,1,opt,name=started,proto3" json:"started"`
	Cancelled bool   `protobuf:"varint,2,opt,name=cancelled,proto3" json:"cancelled"`
	Reason    string `protobuf:"bytes,3,opt,name=reason,proto3" json:"reason"`
}

// PrintRequest holds the text for each output.
type PrintRequest struct {
	Stdout []byte `protobuf:"bytes,1,opt,name=stdout,proto3"`
	Stderr []byte `protobuf:"bytes,2,opt,name=stderr,proto3"`
}

// DieRequest names the way to end the process.
type DieRequest struct {
	How string `protobuf:"bytes,1,opt,name=how,proto3"`
}

// InspectRequest has no fields.
type InspectRequest struct{}

// InspectReport describes the environment in which the plugin runs.
type InspectReport struct {
	Args       []string          `protobuf:"bytes,1,rep,name=args,proto3" json:"args"`
	Env        map[string]string `protobuf:"bytes,2,rep,name=env,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3" json:"env"`
	Cwd        string            `protobuf:"bytes,3,opt,name=cwd,proto3" json:"cwd"`
	DeadlineMs uint64            `protobuf:"varint,4,opt,name=deadline_ms,json=deadlineMs,proto3" json:"deadline_ms"`
	Metadata   map[string]string `protobuf:"bytes,5,rep,name=metadata,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3" json:"metadata"`
	StdinEOF   bool              `protobuf:"varint,6,opt,name=stdin_eof,json=stdinEof,proto3" json:"stdin_eof"`
	Pid        uint32            `protobuf:"varint,7,opt,name=pid,proto3" json:"pid"`
	OpenFiles  uint64            `protobuf:"varint,8,opt,name=open_files,json=openFiles,proto3" json:"open_files"`
}

func (m *Payload) Reset()         { *m = Payload{} }
func (m *Payload) String() string { return fmt.Sprintf("%d bytes", len(m.Data)) }
func (*Payload) ProtoMessage()    {}

func (m *DownloadRequest) Reset()         { *m = DownloadRequest{} }
func (m *DownloadRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*DownloadRequest) ProtoMessage()    {}

func (m *UploadSummary) Reset()         { *m = UploadSummary{} }
func (m *UploadSummary) String() string { return fmt.Sprintf("%+v", *m) }
func (*UploadSummary) ProtoMessage()    {}

func (m *FailRequest) Reset()         { *m = FailRequest{} }
func (m *FailRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*FailRequest) ProtoMessage()    {}

func (m *HangRequest) Reset()         { *m = HangRequest{} }
func (m *HangRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*HangRequest) ProtoMessage()    {}

func (m *AwaitHangRequest) Reset()         { *m = AwaitHangRequest{} }
func (m *AwaitHangRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*AwaitHangRequest) ProtoMessage()    {}

func (m *HangReport) Reset()         { *m = HangReport{} }
func (m *HangReport) String() string { return fmt.Sprintf("%+v", *m) }
func (*HangReport) ProtoMessage()    {}

func (m *PrintRequest) Reset()         { *m = PrintRequest{} }
func (m *PrintRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*PrintRequest) ProtoMessage()    {}

func (m *DieRequest) Reset()         { *m = DieRequest{} }
func (m *DieRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*DieRequest) ProtoMessage()    {}

func (m *InspectRequest) Reset()         { *m = InspectRequest{} }
func (m *InspectRequest) String() string { return fmt.Sprintf("%+v", *m) }
func (*InspectRequest) ProtoMessage()    {}

func (m *InspectReport) Reset()         { *m = InspectReport{} }
func (m *InspectReport) String() string { return fmt.Sprintf("%+v", *m) }
func (*InspectReport) ProtoMessage()    {}
