//go:build !goplugin_before_1_3

package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

type hangReport struct {
	// What the host saw of the call that hung.
	Call *failure `json:"call"`
	// FirstMessage: the stream's one message arrived before it hung.
	FirstMessage bool                  `json:"first_message,omitempty"`
	Begun        *contracts.HangReport `json:"begun"`
	After        *contracts.HangReport `json:"after"`
	Ms           float64               `json:"ms"`
}

// cancel: a call that hangs is cancelled once it has begun; what did its handler see? Unary and stream.
func cancel(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	unary, err := hangUnary(ctx, client, "cancel-unary", 0)
	if err != nil {
		return nil, err
	}
	streamed, err := hangStream(ctx, client, "cancel-stream", 0)
	return map[string]*hangReport{"unary": unary, "stream": streamed}, err
}

// deadline: as cancel, but the call's deadline ends it.
func deadline(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	unary, err := oncePast(ctx, client, "deadline-unary", hangUnary)
	if err != nil {
		return nil, err
	}
	streamed, err := oncePast(ctx, client, "deadline-stream", hangStream)
	return map[string]*hangReport{"unary": unary, "stream": streamed}, err
}

type hanging func(context.Context, contracts.ProbeClient, string, time.Duration) (*hangReport, error)

// oncePast lets a deadline of 200 ms end a call, and a longer one where a busy machine had not even begun by then: nothing
// is seen of a handler whose call was over before it ran.
func oncePast(ctx context.Context, client contracts.ProbeClient, id string, hang hanging) (*hangReport, error) {
	for limit := 200 * time.Millisecond; ; limit *= 5 {
		seen, err := hang(ctx, client, fmt.Sprint(id, limit), limit)
		tooLate := status.Code(err) == codes.DeadlineExceeded
		if err == nil {
			tooLate = !seen.Begun.Started || seen.Begun.Cancelled
		}
		if !tooLate || limit > 5*time.Second {
			return seen, err
		}
	}
}

// limited is a context to be cancelled by hand, or by its deadline where there is one.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

func hangUnary(ctx context.Context, client contracts.ProbeClient, id string, limit time.Duration) (*hangReport, error) {
	call, stop := limited(ctx, limit)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := client.Hang(call, &contracts.HangRequest{ID: id})
		ended <- err
	}()
	return follow(ctx, client, id, limit, stop, func() error { return <-ended })
}

func hangStream(ctx context.Context, client contracts.ProbeClient, id string, limit time.Duration) (*hangReport, error) {
	call, stop := limited(ctx, limit)
	defer stop()
	calls, err := client.HangStream(call, &contracts.HangRequest{ID: id})
	if err != nil {
		return nil, err
	}
	first, err := contracts.Recv[contracts.Payload](calls)
	if err != nil {
		return nil, err
	}
	report, err := follow(ctx, client, id, limit, stop, func() error {
		_, err := contracts.Recv[contracts.Payload](calls)
		return err
	})
	if report != nil {
		report.FirstMessage = len(first.Data) > 0
	}
	return report, err
}

// follow waits for the call to begin, ends it (or lets its deadline), and asks the handler's side.
func follow(ctx context.Context, client contracts.ProbeClient, id string, limit time.Duration,
	stop func(), wait func() error) (*hangReport, error) {
	await := func(cancelled bool) (*contracts.HangReport, error) {
		return client.AwaitHang(ctx, &contracts.AwaitHangRequest{ID: id, Cancelled: cancelled, WaitMs: 5000})
	}
	began := time.Now()
	begun, err := await(false)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		stop()
	}
	seen := &hangReport{Begun: begun, Call: failureOf(wait()), Ms: ms(began)}
	seen.After, err = await(true)
	return seen, err
}
