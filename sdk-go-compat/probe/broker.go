package probe

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"sync"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// Side is one side of a broker. It implements contracts.BrokerProbe, in hosts and plugins alike.
type Side struct {
	Broker  *goplugin.GRPCBroker
	Service *Service

	mutex   sync.Mutex
	conns   []*grpc.ClientConn
	servers map[uint32]*grpc.Server
}

// idHeader names, in each answer on a brokered connection, the id that was reached.
const idHeader = "probe-broker-id"

// Register adds both services to a server.
func (s *Side) Register(server *grpc.Server) {
	contracts.RegisterProbe(server, s.Service)
	contracts.RegisterBrokerProbe(server, s)
}

func (s *Side) server(id uint32, options []grpc.ServerOption) *grpc.Server {
	named := grpc.UnaryInterceptor(func(
		ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
	) (any, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs(idHeader, strconv.FormatUint(uint64(id), 10))); err != nil {
			return nil, err
		}
		return handle(ctx, in)
	})
	server := grpc.NewServer(append(options, named, grpc.MaxRecvMsgSize(math.MaxInt32))...)
	s.Register(server)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.servers == nil {
		s.servers = map[uint32]*grpc.Server{}
	}
	s.servers[id] = server
	return server
}

// ServedID returns the id named in these headers, or 0.
func ServedID(headers metadata.MD) uint32 {
	values := headers[idHeader]
	if len(values) != 1 {
		return 0
	}
	id, _ := strconv.ParseUint(values[0], 10, 32)
	return uint32(id)
}

// Serve takes the next id and serves it until the session ends. Without a delay it returns once the
// broker accepts: a multiplexing plugin that receives a knock while it begins to accept may stop
// accepting forever.
func (s *Side) Serve(delay time.Duration, raw bool) uint32 {
	id := s.Broker.NextId()
	if delay > 0 {
		time.AfterFunc(delay, func() { s.serve(id, raw, func() {}) })
		return id
	}
	accepts := make(chan struct{})
	go func() {
		begun := sync.OnceFunc(func() { close(accepts) })
		s.serve(id, raw, begun)
		begun()
	}()
	<-accepts
	return id
}

func (s *Side) serve(id uint32, raw bool, begun func()) {
	if !raw {
		s.Broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			begun()
			return s.server(id, options)
		})
		return
	}
	// If accepting fails, the peer's dial fails.
	if listener, err := s.Broker.Accept(id); err == nil {
		begun()
		_ = s.server(id, nil).Serve(listener)
	}
}

// Dial connects to an id of the other side. The connection stays open until Close.
func (s *Side) Dial(id uint32) (*grpc.ClientConn, error) {
	conn, err := s.Broker.Dial(id)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.conns = append(s.conns, conn)
	return conn, nil
}

// Close closes the dialed connections.
func (s *Side) Close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

// Offer serves a new id and returns it.
func (s *Side) Offer(_ context.Context, in *contracts.OfferRequest) (*contracts.OfferReply, error) {
	return &contracts.OfferReply{ID: s.Serve(time.Duration(in.DelayMs)*time.Millisecond, in.Raw)}, nil
}

// DialBack dials an id of the caller and makes calls there.
func (s *Side) DialBack(ctx context.Context, in *contracts.DialBackRequest) (*contracts.DialBackReport, error) {
	report := &contracts.DialBackReport{}
	began := time.Now()
	conn, err := s.Broker.Dial(in.ID)
	report.DialMs = uint64(time.Since(began).Milliseconds())
	if err != nil {
		report.DialError = err.Error()
		return report, nil
	}
	defer conn.Close()
	report.Dialled = true

	began = time.Now()
	client := contracts.ProbeClient{Conn: conn}
	var headers metadata.MD
	reply, err := client.Echo(ctx, &contracts.Payload{Data: in.Data}, grpc.Header(&headers))
	report.CallMs = uint64(time.Since(began).Milliseconds())
	if err != nil {
		failed, _ := status.FromError(err)
		report.Code, report.Message = uint32(failed.Code()), failed.Message()
		return report, nil
	}
	report.Data, report.ServedID = reply.Data, ServedID(headers)
	report.Messages, err = chat(ctx, client, in.Count, in.Size)
	return report, err
}

// chat sends messages one at a time and counts those that come back intact.
func chat(ctx context.Context, client contracts.ProbeClient, count, size uint64) (uint64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	calls, err := client.Chat(ctx)
	if err != nil {
		return 0, err
	}
	intact := uint64(0)
	for n := uint64(0); n < count; n++ {
		sent := Pattern(n, size)
		if err := calls.SendMsg(&contracts.Payload{Data: sent}); err != nil {
			return intact, err
		}
		back, err := contracts.Recv[contracts.Payload](calls)
		if err != nil {
			return intact, err
		}
		if bytes.Equal(back.Data, sent) {
			intact++
		}
	}
	return intact, nil
}

// Nest calls back into the caller, which calls back into this side, and so on.
func (s *Side) Nest(ctx context.Context, in *contracts.NestRequest) (*contracts.NestReply, error) {
	if in.Depth == 0 {
		return &contracts.NestReply{Data: in.Data}, nil
	}
	conn, err := s.Broker.Dial(in.ID)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := &contracts.NestRequest{ID: s.Serve(0, false), Depth: in.Depth - 1, Data: in.Data}
	reply, err := contracts.BrokerProbeClient{Conn: conn}.Nest(ctx, request)
	if err != nil {
		return nil, err
	}
	return &contracts.NestReply{Data: append(reply.Data, byte(in.Depth))}, nil
}

// Release stops serving an id.
func (s *Side) Release(_ context.Context, in *contracts.ReleaseRequest) (*contracts.ReleaseReply, error) {
	s.mutex.Lock()
	server, ok := s.servers[in.ID]
	delete(s.servers, in.ID)
	s.mutex.Unlock()
	if !ok {
		return nil, status.Errorf(codes.NotFound, "id %d is not served", in.ID)
	}
	server.Stop()
	return &contracts.ReleaseReply{}, nil
}
