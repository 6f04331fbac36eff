//go:build !goplugin_before_1_3

// Package record keeps what a host's log and writers receive, and lets callers wait for it.
package record

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// Entry is one line of the host's log. Args are the key-value pairs in order.
type Entry struct {
	Name    string `json:"name"`
	Level   string `json:"level"`
	Message string `json:"message"`
	Args    []Arg  `json:"args"`
}

// Arg is one key-value pair.
type Arg struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// Log collects the entries of a logger and all loggers derived from it.
type Log struct {
	mutex   sync.Mutex
	entries []Entry
	grown   chan struct{}
}

// NewLog creates an empty log.
func NewLog() *Log { return &Log{entries: []Entry{}, grown: make(chan struct{}, 1)} }

// All returns a copy of the entries so far.
func (l *Log) All() []Entry {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append([]Entry{}, l.entries...)
}

// Await waits until enough returns true. Only one goroutine may wait.
func (l *Log) Await(ctx context.Context, enough func([]Entry) bool) bool {
	return await(ctx, l.grown, func() bool {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		return enough(l.entries)
	})
}

// Logger returns a logger that writes into this log.
func (l *Log) Logger(name string) hclog.Logger {
	silent := hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Trace, Output: io.Discard})
	return &logger{Logger: silent, log: l, name: name}
}

// logger records every message. The embedded logger implements the rest of hclog's interface, which
// grew from release to release.
type logger struct {
	hclog.Logger
	log     *Log
	name    string
	implied []any
}

func (l *logger) record(level, message string, args []any) {
	all := append(append([]any(nil), l.implied...), args...)
	line := Entry{Name: l.name, Level: level, Message: message, Args: []Arg{}}
	for i := 0; i+1 < len(all); i += 2 {
		line.Args = append(line.Args, Arg{Key: fmt.Sprint(all[i]), Value: encodable(all[i+1])})
	}
	l.log.mutex.Lock()
	defer l.log.mutex.Unlock()
	l.log.entries = append(l.log.entries, line)
	signal(l.log.grown)
}

// encodable returns a value that JSON can encode, or its text.
func encodable(value any) any {
	if err, ok := value.(error); ok {
		return err.Error()
	}
	if stringer, ok := value.(fmt.Stringer); ok {
		return stringer.String()
	}
	if _, err := json.Marshal(value); err != nil {
		return fmt.Sprint(value)
	}
	return value
}

func (l *logger) Trace(message string, args ...any) { l.record("trace", message, args) }
func (l *logger) Debug(message string, args ...any) { l.record("debug", message, args) }
func (l *logger) Info(message string, args ...any)  { l.record("info", message, args) }
func (l *logger) Warn(message string, args ...any)  { l.record("warn", message, args) }
func (l *logger) Error(message string, args ...any) { l.record("error", message, args) }

func (l *logger) Log(level hclog.Level, message string, args ...any) {
	l.record(level.String(), message, args)
}

func (l *logger) With(args ...any) hclog.Logger {
	derived := *l
	derived.implied = append(append([]any(nil), l.implied...), args...)
	return &derived
}

func (l *logger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *logger) ResetNamed(name string) hclog.Logger {
	derived := *l
	derived.name = name
	return &derived
}

func (l *logger) Name() string { return l.name }
