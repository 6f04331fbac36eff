//go:build !goplugin_before_1_3

// conformance-driver is a host on the real go-plugin that does what plugwire's conformance suite
// asks. It reads one task as JSON from standard input and prints one line of JSON for each step to
// standard output. Whatever crashes a Go host ends it, too.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"time"
)

const (
	exitBadTask       = 1
	exitUnimplemented = 89
)

// grace is the time a step may take beyond its own limit before it counts as hung.
const grace = time.Second

// op performs one step. What it observed is reported even if it failed.
type op struct {
	run func(*session, *step) (answer, error)
	// limit is the step's own time limit. go-plugin does not bound everything it does.
	limit func(*session, *step) time.Duration
	// withoutPlugin says that the op also makes sense after a failed start.
	withoutPlugin bool
}

// ops lists all ops.
var ops = map[string]op{
	"start":         {run: start, limit: startTime, withoutPlugin: true},
	"ping":          {run: ping, limit: always(5 * time.Second)},
	"call":          {run: call, limit: callTime},
	"stream":        {run: stream, limit: callTime},
	"broker-accept": {run: brokerAccept, limit: always(brokerTime)},
	"broker-dial":   {run: brokerDial, limit: brokerDialTime},
	"collect-stdio": {run: collectStdio, limit: withinTime},
	"collect-logs":  {run: collectLogs, limit: withinTime},
	"wait-exit":     {run: waitExit, limit: withinTime},
	"kill":          {run: kill, limit: always(9 * time.Second), withoutPlugin: true},
}

func main() {
	name := flag.String("flaw", "", "a mistake to make: a name of flaws.go")
	flag.Parse()
	err := run(*name)
	var missing *unimplemented
	switch {
	case errors.As(err, &missing):
		say(answer{"op": missing.op, "unimplemented": missing.what})
		os.Exit(exitUnimplemented)
	case err != nil:
		fmt.Fprintln(os.Stderr, "conformance-driver:", err)
		os.Exit(exitBadTask)
	}
}

func run(name string) error {
	flaw, err := flawOf(name)
	if err != nil {
		return err
	}
	task, err := readTask(os.Stdin)
	if err != nil {
		return err
	}
	return play(task, flaw)
}

// play performs the steps in order. An error concerns the task itself; plugin failures are in the
// answers.
func play(task *task, flaw flaw) error {
	s, err := newSession(task, flaw)
	if err != nil {
		return err
	}
	for i := range task.Steps {
		step := &task.Steps[i]
		op, ok := ops[step.Op]
		if !ok {
			return &unimplemented{op: step.Op, what: "op"}
		}
		say(perform(s, step, op))
	}
	return nil
}

// perform performs one step within its time limit.
func perform(s *session, step *step, op op) answer {
	type outcome struct {
		seen answer
		err  error
	}
	done := make(chan outcome, 1)
	began := time.Now()
	go func() {
		if s.connected() == nil && !op.withoutPlugin {
			done <- outcome{err: &failure{Kind: "not-started", Message: "no plugin is running"}}
			return
		}
		seen, err := op.run(s, step)
		done <- outcome{seen, err}
	}()
	var end outcome
	select {
	case end = <-done:
	case <-time.After(op.limit(s, step) + grace):
		end.err = &failure{Kind: "hung", Message: "go-plugin did not return in time"}
	}
	line := answer{"op": step.Op, "ok": end.err == nil, "ms": time.Since(began).Milliseconds()}
	maps.Copy(line, end.seen)
	if end.err != nil {
		line["error"] = failureOf(end.err)
	}
	return line
}

// say prints one line. Errors are ignored: without a reader the line has no recipient.
func say(line answer) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "conformance-driver:", err)
		os.Exit(1)
	}
}
