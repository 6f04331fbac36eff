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
	// Call is what the host saw of the call that hung.
	Call *failure `json:"call"`
	// FirstMessage: the stream's single message arrived before it hung.
	FirstMessage bool                  `json:"first_message,omitempty"`
	Begun        *contracts.HangReport `json:"begun"`
	After        *contracts.HangReport `json:"after"`
	Ms           float64               `json:"ms"`
}

// cancel: a hanging call is cancelled once it has begun; the report shows what its handler saw.
// Unary and stream.
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

// deadline: like cancel, but the call is ended by its deadline.
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

// oncePast ends a call by a deadline of 200 ms, and by longer ones if a busy plugin had not started
// the call by then: a handler whose call ended before it ran leaves no trace.
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

// limited returns a context to be cancelled by hand, or by a deadline if limit is set.
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

// follow waits for the call to begin, cancels it or waits for its deadline, and asks the handler
// what it saw.
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
