//go:build !goplugin_before_1_3

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// contractVersion is the version of the suite's contract that this driver supports.
const contractVersion = 1

// task is the task that the suite sends.
type task struct {
	Contract int     `json:"plugwire-conformance"`
	Case     string  `json:"case"`
	Plugin   subject `json:"plugin"`
	Steps    []step  `json:"steps"`
}

// subject is the plugin, and how the host is to be configured for it.
type subject struct {
	Command []string `json:"command"`
	Cookie  struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"cookie"`
	AppVersions    []int             `json:"app_versions"`
	TLS            string            `json:"tls"`
	Multiplex      bool              `json:"multiplex"`
	StartTimeoutMs int64             `json:"start_timeout_ms"`
	Env            map[string]string `json:"env"`
	Reattach       json.RawMessage   `json:"reattach"`
}

// step has the parameters of all ops; each op uses its own.
type step struct {
	Op            string            `json:"op"`
	ID            uint32            `json:"id"`
	Method        string            `json:"method"`
	Request       []byte            `json:"request"`
	TimeoutMs     int64             `json:"timeout_ms"`
	Metadata      map[string]string `json:"metadata"`
	CancelAfterMs *int64            `json:"cancel_after_ms"`
	Stdout        uint64            `json:"stdout"`
	Stderr        uint64            `json:"stderr"`
	Count         int               `json:"count"`
	WithinMs      int64             `json:"within_ms"`
}

// answer is one line of output.
type answer map[string]any

// unimplemented is an error about something that this driver, or this release of go-plugin, does
// not have.
type unimplemented struct{ op, what string }

func (u *unimplemented) Error() string { return u.op + " does not support " + u.what }

// readTask accepts a task only if it knows all of it: performing half of what the suite asks would
// give a wrong verdict.
func readTask(from io.Reader) (*task, error) {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	task := &task{}
	if err := decoder.Decode(task); err != nil {
		if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return nil, &unimplemented{op: "task", what: strings.Trim(field, `"`)}
		}
		return nil, fmt.Errorf("the task: %w", err)
	}
	if task.Contract != contractVersion {
		return nil, &unimplemented{op: "task", what: fmt.Sprint("contract version ", task.Contract)}
	}
	return task, nil
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func always(limit time.Duration) func(*session, *step) time.Duration {
	return func(*session, *step) time.Duration { return limit }
}

func startTime(s *session, _ *step) time.Duration     { return s.config.StartTimeout }
func callTime(_ *session, step *step) time.Duration   { return milliseconds(step.TimeoutMs) }
func withinTime(_ *session, step *step) time.Duration { return milliseconds(step.WithinMs) }
func brokerDialTime(_ *session, step *step) time.Duration {
	return brokerTime + milliseconds(step.TimeoutMs)
}
