//go:build !goplugin_before_1_3

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
)

// sides returns the host's side of the broker and the plugin's.
func (s *session) sides() (*probe.Side, contracts.BrokerProbeClient, error) {
	dispensed, err := s.dispense()
	if err != nil {
		return nil, contracts.BrokerProbeClient{}, err
	}
	own := &probe.Side{Broker: dispensed.Broker, Service: probe.New()}
	return own, contracts.BrokerProbeClient{Conn: dispensed.Conn}, nil
}

// brokered asks the plugin for an id and dials it. The connection ends with the session.
func (s *session) brokered(dispensed *plugins.Dispensed) (*grpc.ClientConn, error) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	offer, err := contracts.BrokerProbeClient{Conn: dispensed.Conn}.Offer(ctx, &contracts.OfferRequest{})
	if err != nil {
		return nil, err
	}
	return dispensed.Broker.Dial(offer.ID)
}

// dialReport is the result of one dial by the host, and of a call over the connection.
type dialReport struct {
	ID        uint32      `json:"id"`
	DialError string      `json:"dial_error,omitempty"`
	DialMs    float64     `json:"dial_ms"`
	Echo      *echoReport `json:"echo,omitempty"`
	// ServedID is the id named in the answer.
	ServedID uint32 `json:"served_id"`
}

// problem returns why there was no correct answer.
func (d *dialReport) problem() string {
	if d.Echo != nil && d.Echo.Error != nil {
		return d.Echo.Error.Message
	}
	return d.DialError
}

func dialAndEcho(ctx context.Context, own *probe.Side, id uint32, sent metadata.MD) *dialReport {
	seen := &dialReport{ID: id}
	began := time.Now()
	conn, err := own.Dial(id)
	seen.DialMs = ms(began)
	if err != nil {
		seen.DialError = err.Error()
		return seen
	}
	seen.Echo = echoWith(ctx, contracts.ProbeClient{Conn: conn}, 1000, sent)
	seen.ServedID = probe.ServedID(seen.Echo.HeadersSeen)
	return seen
}

// brokerAccept: the plugin accepts, the host dials. With --raw the plugin serves without the
// session's TLS.
func brokerAccept(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	offer, err := other.Offer(ctx, &contracts.OfferRequest{Raw: s.raw})
	if err != nil {
		return nil, err
	}
	return dialAndEcho(ctx, own, offer.ID, echoMetadata()), nil
}

// dialBackReport is the result of the plugin's dial of an id of the host.
type dialBackReport struct {
	*contracts.DialBackReport
	Intact bool `json:"intact"`
}

func dialBack(ctx context.Context, other contracts.BrokerProbeClient, id uint32, count, size uint64) (*dialBackReport, error) {
	sent := probe.Pattern(uint64(id), 1000)
	report, err := other.DialBack(ctx, &contracts.DialBackRequest{ID: id, Data: sent, Count: count, Size: size})
	if err != nil {
		return nil, err
	}
	intact := report.Dialled && report.Code == 0 && bytes.Equal(report.Data, sent) && report.Messages == count
	return &dialBackReport{report, intact}, nil
}

// brokerDial: the host accepts, the plugin dials, echoes, and chats --count messages of --size.
func brokerDial(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	return dialBack(ctx, other, own.Serve(0, s.raw), or(s.count, 100), or(s.size, 1000))
}

// both is the result of a scenario in both directions.
type both struct {
	HostDials   *dialReport     `json:"host_dials"`
	PluginDials *dialBackReport `json:"plugin_dials"`
}

// brokerEarlyDial: the dial comes --delay before the accept, in both directions.
func brokerEarlyDial(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	offer, err := other.Offer(ctx, &contracts.OfferRequest{DelayMs: uint64(s.delay.Milliseconds())})
	if err != nil {
		return nil, err
	}
	seen := both{HostDials: dialAndEcho(ctx, own, offer.ID, metadata.MD{})}
	seen.PluginDials, err = dialBack(ctx, other, own.Serve(s.delay, false), 1, 1)
	return seen, err
}

// brokerNobody: dials of ids that are never accepted, in both directions, followed by a good dial
// in each.
func brokerNobody(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	var result struct {
		Nobody both `json:"nobody"`
		After  both `json:"after"`
	}
	const nobody = 4242
	limited, stop := context.WithTimeout(ctx, 8*time.Second)
	defer stop()
	result.Nobody.HostDials = dialAndEcho(limited, own, nobody, metadata.MD{})
	own.Close()
	if result.Nobody.PluginDials, err = dialBack(ctx, other, nobody, 0, 0); err != nil {
		return nil, err
	}
	offer, err := other.Offer(ctx, &contracts.OfferRequest{})
	if err != nil {
		return nil, err
	}
	result.After.HostDials = dialAndEcho(ctx, own, offer.ID, metadata.MD{})
	result.After.PluginDials, err = dialBack(ctx, other, own.Serve(0, false), 1, 1)
	return result, err
}

// brokerMany: --count connections in each direction, all kept open; with --at-once at most --window
// in progress.
func brokerMany(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	var result struct {
		Count       uint64   `json:"count"`
		HostDials   uint64   `json:"host_dials_intact"`
		PluginDials uint64   `json:"plugin_dials_intact"`
		Crossed     uint64   `json:"crossed"`
		Problems    []string `json:"problems"`
		Ms          float64  `json:"ms"`
	}
	result.Count, result.Problems = or(s.count, 20), []string{}
	var mutex sync.Mutex
	count := func(into *uint64, intact bool, wanted, served uint32, problem string) {
		mutex.Lock()
		defer mutex.Unlock()
		if intact && served != wanted {
			result.Crossed++
			problem = fmt.Sprintf("%s: %d reached %d", problem, wanted, served)
			intact = false
		}
		if intact {
			*into++
		} else {
			result.Problems = append(result.Problems, problem)
		}
	}
	one := func() {
		offer, err := other.Offer(ctx, &contracts.OfferRequest{})
		if err != nil {
			count(&result.HostDials, false, 0, 0, err.Error())
			return
		}
		dialled := dialAndEcho(ctx, own, offer.ID, metadata.MD{})
		intact := dialled.Echo != nil && dialled.Echo.PayloadIntact
		count(&result.HostDials, intact, offer.ID, dialled.ServedID, "host: "+dialled.problem())
		id := own.Serve(0, false)
		back, err := dialBack(ctx, other, id, 1, 1)
		if err != nil {
			count(&result.PluginDials, false, 0, 0, err.Error())
			return
		}
		count(&result.PluginDials, back.Intact, id, back.ServedID, "plugin: "+back.DialError+back.Message)
	}
	began := time.Now()
	var all sync.WaitGroup
	window := make(chan struct{}, or(s.window, result.Count))
	for n := uint64(0); n < result.Count; n++ {
		if !s.atOnce {
			one()
			continue
		}
		all.Add(1)
		window <- struct{}{}
		go func() {
			defer all.Done()
			one()
			<-window
		}()
	}
	all.Wait()
	result.Ms = ms(began)
	return result, nil
}

// brokerNest: callbacks within callbacks, to a depth of --depth.
func brokerNest(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	request := &contracts.NestRequest{ID: own.Serve(0, false), Depth: uint32(s.depth), Data: []byte("nest")}
	reply, err := other.Nest(ctx, request)
	var result struct {
		Error  *failure `json:"error,omitempty"`
		Depth  uint     `json:"depth"`
		Intact bool     `json:"intact"`
	}
	result.Error, result.Depth = failureOf(err), s.depth
	if err == nil {
		want := []byte("nest")
		for depth := uint(1); depth <= s.depth; depth++ {
			want = append(want, byte(depth))
		}
		result.Intact = bytes.Equal(reply.Data, want)
	}
	return result, nil
}

// brokerHold: the plugin keeps --count streams open at the host, and records in the file --how how
// they end. The host then waits to be killed.
func brokerHold(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	for n := uint64(0); n < or(s.count, 64); n++ {
		if _, err := other.Hold(ctx, &contracts.HoldRequest{ID: own.Serve(0, false), File: s.how}); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(os.Stderr, "all held")
	<-ctx.Done()
	return nil, ctx.Err()
}

// brokerAbandon: --count times, the host makes the plugin dial and cancels the call at a random
// moment within --delay, which drops the plugin's dial. At the same time another dial goes on, and
// must reach its id.
func brokerAbandon(ctx context.Context, s *session) (any, error) {
	own, other, err := s.sides()
	if err != nil {
		return nil, err
	}
	var result struct {
		Abandoned uint64   `json:"abandoned"`
		Finished  uint64   `json:"finished"`
		Good      uint64   `json:"good"`
		Problems  []string `json:"problems"`
	}
	result.Problems = []string{}
	good := func() {
		id := own.Serve(0, false)
		back, err := dialBack(ctx, other, id, 1, 1)
		switch {
		case err != nil:
			result.Problems = append(result.Problems, err.Error())
		case !back.Intact || back.ServedID != id:
			result.Problems = append(result.Problems, fmt.Sprintf("%d reached %d: %s%s", id, back.ServedID, back.DialError, back.Message))
		default:
			result.Good++
		}
	}
	for n := uint64(0); n < or(s.count, 100); n++ {
		id := own.Serve(0, false)
		given := make(chan error, 1)
		go func() {
			short, stop := context.WithTimeout(ctx, time.Duration(rand.Int63n(int64(s.delay))))
			defer stop()
			_, err := dialBack(short, other, id, 0, 0)
			given <- err
		}()
		good()
		if <-given == nil {
			result.Finished++
		} else {
			result.Abandoned++
		}
	}
	return result, nil
}
