//go:build !goplugin_before_1_3

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/metadata"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

// inspect: the environment in which the plugin runs.
func inspect(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	return client.Inspect(metadata.NewOutgoingContext(ctx, metadata.Pairs("probe-text", "one value", "probe-data-bin", "\x00\xff")))
}

// die: the plugin ends itself (--how) during a call; then another call is made.
func die(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	patience := s.patience
	if s.how != "stop" {
		// Only "stop" leaves the call without an answer. A panic with a backtrace takes time.
		patience = max(patience, 20*time.Second)
	}
	limit, stop := context.WithTimeout(ctx, patience)
	defer stop()
	_, first := client.Die(limit, &contracts.DieRequest{How: s.how})
	var result struct {
		Call     *failure `json:"call"`
		CallMs   float64  `json:"call_ms"`
		Next     *failure `json:"next_call"`
		Exited   bool     `json:"exited"`
		ExitedMs float64  `json:"exited_ms"`
	}
	result.Call, result.CallMs = failureOf(first), ms(began)

	again, stopAgain := context.WithTimeout(ctx, patience)
	defer stopAgain()
	_, second := client.Echo(again, &contracts.Payload{})
	result.Next = failureOf(second)

	gone, stopGone := context.WithTimeout(ctx, s.patience)
	defer stopGone()
	result.Exited, result.ExitedMs = s.exited(gone), ms(began)
	return result, nil
}

// reattach: attach to a running plugin. --leave only closes the connection.
func reattach(ctx context.Context, s *session) (any, error) {
	attached, err := plugins.ParseReattach(s.reattach)
	if err != nil {
		return nil, err
	}
	s.config.Cmd, s.config.Reattach = nil, attached
	// A reattached host uses only Plugins, unless the record is of test mode.
	for _, set := range s.config.VersionedPlugins {
		s.config.Plugins = set
	}
	dispensed, err := s.dispense()
	if err != nil {
		return nil, err
	}
	seen := echoWith(ctx, contracts.ProbeClient{Conn: dispensed.Conn}, or(s.size, 1000), echoMetadata())
	if s.leave || attached.Test {
		return seen, dispensed.Conn.Close()
	}
	return seen, nil
}

type roundsReport struct {
	Rounds          uint64 `json:"rounds"`
	FirstReplyMs    spread `json:"first_reply_ms"`
	KillMs          spread `json:"kill_ms"`
	OpenFilesBefore int    `json:"open_files_before"`
	OpenFilesAfter  int    `json:"open_files_after"`
	RoutinesBefore  int    `json:"goroutines_before"`
	RoutinesAfter   int    `json:"goroutines_after"`
}

type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

// rounds: start, echo and kill --count times; the report shows what the host has open before and
// after.
func rounds(ctx context.Context, s *session) (any, error) {
	seen := &roundsReport{Rounds: or(s.count, 10), OpenFilesBefore: openFiles(), RoutinesBefore: runtime.NumGoroutine()}
	var replies, kills []float64
	for n := uint64(0); n < seen.Rounds; n++ {
		round, err := newSession(s.options)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		err = oneRound(ctx, round)
		replies = append(replies, ms(began))
		round.kill()
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", n, err)
		}
		kills = append(kills, round.killed.Ms)
		if !round.killed.Exited || round.killed.Hung {
			return nil, fmt.Errorf("round %d: the plugin did not exit", n)
		}
	}
	seen.FirstReplyMs, seen.KillMs = spreadOf(replies), spreadOf(kills)
	s.settle(ctx, seen)
	return seen, nil
}

// settle counts until nothing more is open than before, or patience runs out: goroutines of Kill
// may end after it returns.
func (s *session) settle(ctx context.Context, seen *roundsReport) {
	patient, stop := context.WithTimeout(ctx, s.patience)
	defer stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		seen.OpenFilesAfter, seen.RoutinesAfter = openFiles(), runtime.NumGoroutine()
		if seen.OpenFilesAfter <= seen.OpenFilesBefore && seen.RoutinesAfter <= seen.RoutinesBefore {
			return
		}
		select {
		case <-tick.C:
		case <-patient.Done():
			return
		}
	}
}

func oneRound(ctx context.Context, s *session) error {
	client, err := s.probe()
	if err != nil {
		return err
	}
	_, err = client.Echo(ctx, &contracts.Payload{Data: []byte("round")})
	return err
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries) - 1
}

// checksum: start with a checksum of the executable, given or computed.
func checksum(ctx context.Context, s *session) (any, error) {
	var sum []byte
	if s.checksum == "" {
		data, err := os.ReadFile(s.command[0])
		if err != nil {
			return nil, err
		}
		computed := sha256.Sum256(data)
		sum = computed[:]
	} else {
		given, err := hex.DecodeString(s.checksum)
		if err != nil {
			return nil, err
		}
		sum = given
	}
	s.config.SecureConfig = &goplugin.SecureConfig{Checksum: sum, Hash: sha256.New()}
	if err := s.start(); err != nil {
		return map[string]any{"checksum": hex.EncodeToString(sum), "started": false}, nil
	}
	err := oneRound(ctx, s)
	return map[string]any{"checksum": hex.EncodeToString(sum), "started": true}, err
}
