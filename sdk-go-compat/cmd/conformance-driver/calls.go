//go:build !goplugin_before_1_3

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// brokerTime is how long go-plugin's broker waits for the other side.
const brokerTime = 5 * time.Second

func call(s *session, step *step) (answer, error) {
	return callOn(s.connected().Conn, step)
}

// callOn makes a unary call. Headers and trailers are reported for failed calls, too.
func callOn(conn *grpc.ClientConn, step *step) (answer, error) {
	ctx, stop, err := contextOf(step)
	if err != nil {
		return nil, err
	}
	defer stop()
	if step.CancelAfterMs != nil {
		defer time.AfterFunc(milliseconds(*step.CancelAfterMs), stop).Stop()
	}
	var headers, trailers metadata.MD
	reply := &message{}
	err = conn.Invoke(ctx, step.Method, &message{step.Request}, reply, grpc.Header(&headers), grpc.Trailer(&trailers))
	seen := answer{"headers": shown(headers), "trailers": shown(trailers)}
	if err != nil {
		return seen, err
	}
	seen["reply"] = reply.bytes
	return seen, nil
}

// stream sends one request and receives everything the plugin sends in answer.
func stream(s *session, step *step) (answer, error) {
	ctx, stop, err := contextOf(step)
	if err != nil {
		return nil, err
	}
	defer stop()
	messages, bytes := 0, 0
	err = receive(ctx, s.connected().Conn, step, func(m *message) {
		messages++
		bytes += len(m.bytes)
	})
	return answer{"messages": messages, "bytes": bytes}, err
}

func receive(ctx context.Context, conn *grpc.ClientConn, step *step, take func(*message)) error {
	calls, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, step.Method)
	if err != nil {
		return err
	}
	// io.EOF means that the call has already ended; the next receive returns the error.
	if err := calls.SendMsg(&message{step.Request}); err != nil && err != io.EOF {
		return err
	}
	if err := calls.CloseSend(); err != nil {
		return err
	}
	for {
		next := &message{}
		err := calls.RecvMsg(next)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		take(next)
	}
}

// contextOf applies the step's deadline and metadata; binary values are given in base64.
func contextOf(step *step) (context.Context, context.CancelFunc, error) {
	sent := metadata.MD{}
	for key, value := range step.Metadata {
		if strings.HasSuffix(key, "-bin") {
			binary, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return nil, nil, fmt.Errorf("metadata %s: %w", key, err)
			}
			value = string(binary)
		}
		sent.Set(key, value)
	}
	ctx, stop := context.WithTimeout(context.Background(), milliseconds(step.TimeoutMs))
	return metadata.NewOutgoingContext(ctx, sent), stop, nil
}

// shown formats metadata as the contract defines it: several values joined, binary ones in base64.
func shown(md metadata.MD) map[string]string {
	all := map[string]string{}
	for key, values := range md {
		texts := append([]string(nil), values...)
		for i := range texts {
			if strings.HasSuffix(key, "-bin") {
				texts[i] = base64.StdEncoding.EncodeToString([]byte(texts[i]))
			}
		}
		all[key] = strings.Join(texts, ",")
	}
	return all
}

// brokerAccept serves the echo until the end, and answers once go-plugin accepts. go-plugin does
// not report why accepting failed.
func brokerAccept(s *session, step *step) (answer, error) {
	accepts, refuses := make(chan struct{}), make(chan struct{})
	accepted := sync.OnceFunc(func() { close(accepts) })
	go func() {
		s.connected().Broker.AcceptAndServe(step.ID, func(options []grpc.ServerOption) *grpc.Server {
			accepted()
			return echoServer(options)
		})
		close(refuses)
	}()
	select {
	case <-accepts:
		return nil, nil
	case <-refuses:
		return nil, &failure{Kind: "broker", Message: "AcceptAndServe returned early; its reason is on standard error"}
	}
}

// brokerDial dials and makes one call over the connection: with multiplexing, the call is what
// dials.
func brokerDial(s *session, step *step) (answer, error) {
	conn, err := s.connected().Broker.Dial(step.ID)
	if err != nil {
		return nil, dialFailure(err)
	}
	defer conn.Close()
	seen, err := callOn(conn, step)
	if err != nil {
		return seen, dialFailure(err)
	}
	return seen, nil
}
