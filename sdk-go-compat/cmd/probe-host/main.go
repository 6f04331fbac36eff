//go:build !goplugin_before_1_3

// probe-host runs one scenario with a probe plugin and prints what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/plugwire/plugwire/sdk-go-compat/record"
)

// scenario returns what it saw; an error means that it could not complete.
type scenario func(context.Context, *session) (any, error)

// scenarios lists all scenarios.
var scenarios = map[string]scenario{
	"start":      start,
	"echo":       echo,
	"large":      large,
	"fail":       fail,
	"stream":     stream,
	"cancel":     cancel,
	"deadline":   deadline,
	"stdio":      stdio,
	"logs":       logs,
	"inspect":    inspect,
	"die":        die,
	"health":     health,
	"reflection": reflection,
	"reattach":   reattach,
	"rounds":     rounds,
	"checksum":   checksum,

	"broker-accept":     brokerAccept,
	"broker-dial":       brokerDial,
	"broker-early-dial": brokerEarlyDial,
	"broker-nobody":     brokerNobody,
	"broker-many":       brokerMany,
	"broker-nest":       brokerNest,
	"broker-hold":       brokerHold,
	"broker-abandon":    brokerAbandon,
}

// report is the JSON object. Start and Kill are absent if the scenario did not get that far.
type report struct {
	Scenario  string         `json:"scenario"`
	Ended     bool           `json:"ended"`
	Error     string         `json:"error,omitempty"`
	Start     *startReport   `json:"start,omitempty"`
	Result    any            `json:"result,omitempty"`
	Kill      *killReport    `json:"kill,omitempty"`
	Log       []record.Entry `json:"log"`
	RawStderr *text          `json:"raw_stderr,omitempty"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		for _, name := range names() {
			fmt.Println(name)
		}
		return
	}
	if len(os.Args) < 2 || scenarios[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "usage: probe-host SCENARIO [FLAGS] -- COMMAND ARGS\nscenarios: %v\n", names())
		os.Exit(2)
	}
	name := os.Args[1]
	flags := flag.NewFlagSet("probe-host "+name, flag.ExitOnError)
	options := newOptions(flags)
	_ = flags.Parse(os.Args[2:]) // exits on an error
	options.command = flags.Args()

	outcome := play(name, options)
	if err := json.NewEncoder(os.Stdout).Encode(outcome); err != nil {
		fmt.Fprintln(os.Stderr, "probe-host:", err)
		os.Exit(1)
	}
	if !outcome.Ended {
		os.Exit(1)
	}
}

func names() []string {
	var all []string
	for name := range scenarios {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// play runs the scenario within its time limit, ends the plugin, and assembles the report.
func play(name string, options *options) *report {
	outcome := &report{Scenario: name}
	s, err := newSession(options)
	if err != nil {
		outcome.Error = err.Error()
		return outcome
	}
	ctx, stop := context.WithTimeout(context.Background(), options.timeout)
	defer stop()

	type seen struct {
		result any
		err    error
	}
	done := make(chan seen, 1)
	go func() {
		result, err := scenarios[name](ctx, s)
		done <- seen{result, err}
	}()
	select {
	case end := <-done:
		outcome.Result, outcome.Ended = end.result, end.err == nil
		if end.err != nil {
			outcome.Error = end.err.Error()
		}
	case <-time.After(options.timeout + 2*time.Second):
		outcome.Error = "the scenario did not complete in time"
	}
	if !options.leave {
		s.kill()
	}
	outcome.Start, outcome.Kill, outcome.Log = s.started, s.killed, s.log.All()
	if options.rawStderr {
		outcome.RawStderr = textOf(s.rawStderr.Bytes(), 1<<20)
	}
	return outcome
}
