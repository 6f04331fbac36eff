package probe

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// hang is a call that never answers. reason is written before ended is closed.
type hang struct {
	started, ended       chan struct{}
	startOnce, endedOnce sync.Once
	reason               string
}

type hangs struct {
	mutex sync.Mutex
	byID  map[string]*hang
}

func (h *hangs) get(id string) *hang {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	call, ok := h.byID[id]
	if !ok {
		call = &hang{started: make(chan struct{}), ended: make(chan struct{})}
		h.byID[id] = call
	}
	return call
}

// wait marks the call as begun, and blocks until its context ends.
func (h *hang) wait(ctx context.Context) error {
	h.startOnce.Do(func() { close(h.started) })
	<-ctx.Done()
	h.endedOnce.Do(func() {
		h.reason = "canceled"
		if ctx.Err() == context.DeadlineExceeded {
			h.reason = "deadline"
		}
		close(h.ended)
	})
	if ctx.Err() == context.DeadlineExceeded {
		return status.Error(codes.DeadlineExceeded, "the hanging call reached its deadline")
	}
	return status.Error(codes.Canceled, "the hanging call was cancelled")
}

// Hang never answers.
func (s *Service) Hang(ctx context.Context, in *contracts.HangRequest) (*contracts.Payload, error) {
	return nil, s.hangs.get(in.ID).wait(ctx)
}

// HangStream sends one message and then never ends.
func (s *Service) HangStream(in *contracts.HangRequest, stream grpc.ServerStream) error {
	if err := stream.SendMsg(&contracts.Payload{Data: []byte("first")}); err != nil {
		return err
	}
	return s.hangs.get(in.ID).wait(stream.Context())
}

// AwaitHang waits for the hanging call to begin and, if requested, to end, for at most WaitMs.
func (s *Service) AwaitHang(ctx context.Context, in *contracts.AwaitHangRequest) (*contracts.HangReport, error) {
	call := s.hangs.get(in.ID)
	limit := time.NewTimer(time.Duration(in.WaitMs) * time.Millisecond)
	defer limit.Stop()

	awaited := call.started
	if in.Cancelled {
		awaited = call.ended
	}
	select {
	case <-awaited:
	case <-limit.C:
	case <-ctx.Done():
		return nil, status.Error(codes.Canceled, "the waiting call ended")
	}
	report := &contracts.HangReport{Started: isClosed(call.started), Cancelled: isClosed(call.ended)}
	if report.Cancelled {
		report.Reason = call.reason
	}
	return report, nil
}

func isClosed(channel chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}
