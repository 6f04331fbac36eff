//go:build !goplugin_before_1_3

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
)

// entry is one line of the host's log. Args are pairs, in their order.
type entry struct {
	Name    string `json:"name"`
	Level   string `json:"level"`
	Message string `json:"message"`
	Args    []arg  `json:"args"`
}

type arg struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// recorder gathers the entries of a logger and all loggers derived from it.
type recorder struct {
	mutex   sync.Mutex
	entries []entry
}

func newRecorder() *recorder { return &recorder{entries: []entry{}} }

func (r *recorder) all() []entry {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return append([]entry{}, r.entries...)
}

func (r *recorder) logger(name string) hclog.Logger {
	silent := hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Trace, Output: io.Discard})
	return &recordingLogger{Logger: silent, recorder: r, name: name}
}

// recordingLogger keeps what would be written. The embedded logger answers the
// rest of hclog's interface, which grew from release to release.
type recordingLogger struct {
	hclog.Logger
	recorder *recorder
	name     string
	implied  []any
}

func (l *recordingLogger) record(level, message string, args []any) {
	all := append(append([]any(nil), l.implied...), args...)
	line := entry{Name: l.name, Level: level, Message: message, Args: []arg{}}
	for i := 0; i+1 < len(all); i += 2 {
		line.Args = append(line.Args, arg{Key: fmt.Sprint(all[i]), Value: encodable(all[i+1])})
	}
	l.recorder.mutex.Lock()
	defer l.recorder.mutex.Unlock()
	l.recorder.entries = append(l.recorder.entries, line)
}

// encodable is the value as JSON has it, or else as text.
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

func (l *recordingLogger) Trace(message string, args ...any) { l.record("trace", message, args) }
func (l *recordingLogger) Debug(message string, args ...any) { l.record("debug", message, args) }
func (l *recordingLogger) Info(message string, args ...any)  { l.record("info", message, args) }
func (l *recordingLogger) Warn(message string, args ...any)  { l.record("warn", message, args) }
func (l *recordingLogger) Error(message string, args ...any) { l.record("error", message, args) }

func (l *recordingLogger) Log(level hclog.Level, message string, args ...any) {
	l.record(level.String(), message, args)
}

func (l *recordingLogger) With(args ...any) hclog.Logger {
	derived := *l
	derived.implied = append(append([]any(nil), l.implied...), args...)
	return &derived
}

func (l *recordingLogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *recordingLogger) ResetNamed(name string) hclog.Logger {
	derived := *l
	derived.name = name
	return &derived
}

func (l *recordingLogger) Name() string { return l.name }

// buffer is a writer that can be waited on.
type buffer struct {
	mutex sync.Mutex
	data  bytes.Buffer
	grown chan struct{}
}

func newBuffer() *buffer { return &buffer{grown: make(chan struct{}, 1)} }

func (b *buffer) Write(data []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return b.data.Write(data)
}

func (b *buffer) len() uint64 {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return uint64(b.data.Len())
}

// await waits for at least n bytes. Only one may wait.
func (b *buffer) await(ctx context.Context, n uint64) bool {
	for b.len() < n {
		select {
		case <-b.grown:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// text is bytes as JSON can carry them: as a string where they are one, else
// in base64; of more than a limit only the hash.
type text struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

func (b *buffer) text(limit int) *text {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return textOf(b.data.Bytes(), limit)
}

func textOf(data []byte, limit int) *text {
	sum := sha256.Sum256(data)
	t := &text{Bytes: len(data), SHA256: hex.EncodeToString(sum[:])}
	switch {
	case len(data) > limit:
	case utf8.Valid(data):
		t.Text = string(data)
	default:
		t.Base64 = base64.StdEncoding.EncodeToString(data)
	}
	return t
}
