package probe

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// Print writes to os.Stdout and os.Stderr, which go-plugin points at the stdio stream.
func (*Service) Print(_ context.Context, in *contracts.PrintRequest) (*contracts.Payload, error) {
	if _, err := os.Stdout.Write(in.Stdout); err != nil {
		return nil, err
	}
	_, err := os.Stderr.Write(in.Stderr)
	return &contracts.Payload{}, err
}

// Die ends or damages the process. It answers only after "stop", once the process has been
// continued.
func (*Service) Die(_ context.Context, in *contracts.DieRequest) (*contracts.Payload, error) {
	self := os.Getpid()
	how, code, _ := strings.Cut(in.How, ":")
	switch how {
	case "exit":
		number, err := strconv.Atoi(code)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "not an exit code: %q", code)
		}
		os.Exit(number)
	case "panic":
		panic("the probe panics in its handler")
	case "panic-thread":
		go panic("the probe panics in a goroutine")
		select {}
	case "kill":
		_ = syscall.Kill(self, syscall.SIGKILL)
		select {}
	case "abort":
		// Go's runtime handles the signal, prints every goroutine and exits with status 2.
		_ = syscall.Kill(self, syscall.SIGABRT)
		select {}
	case "stop":
		// The other threads stop a little later than this one: only SIGCONT tells that all of it is
		// over.
		continued := make(chan os.Signal, 1)
		signal.Notify(continued, syscall.SIGCONT)
		defer signal.Stop(continued)
		if err := syscall.Kill(self, syscall.SIGSTOP); err != nil {
			return nil, err
		}
		<-continued
		return &contracts.Payload{}, nil
	}
	return nil, status.Errorf(codes.InvalidArgument, "no such way to die: %q", in.How)
}

// Inspect reports the environment in which the plugin runs.
func (*Service) Inspect(ctx context.Context, _ *contracts.InspectRequest) (*contracts.InspectReport, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	report := &contracts.InspectReport{
		Args:      os.Args,
		Env:       map[string]string{},
		Cwd:       cwd,
		Metadata:  map[string]string{},
		StdinEOF:  stdinEOF(),
		Pid:       uint32(os.Getpid()),
		OpenFiles: openFiles(),
	}
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok && utf8.ValidString(pair) {
			report.Env[name] = value
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		report.DeadlineMs = uint64(max(time.Until(deadline).Milliseconds(), 1))
	}
	received, _ := metadata.FromIncomingContext(ctx)
	for key, values := range received {
		report.Metadata[key] = readable(key, values)
	}
	return report, nil
}

// readable joins the values of one key; binary values as base64.
func readable(key string, values []string) string {
	texts := append([]string(nil), values...)
	if strings.HasSuffix(key, "-bin") {
		for i, value := range texts {
			texts[i] = base64.StdEncoding.EncodeToString([]byte(value))
		}
	}
	return strings.Join(texts, ",")
}

// openFiles counts the descriptors of this process, without the one used for counting.
func openFiles() uint64 {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return uint64(len(entries) - 1)
}

// stdinEOF returns whether standard input is at its end, without waiting. It may consume one byte
// of an input that is not.
func stdinEOF() bool {
	ready, err := unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, 0)
	if err != nil || ready == 0 {
		return false
	}
	n, err := unix.Read(0, make([]byte, 1))
	return n == 0 && err == nil
}

// LogEachLevel writes one hclog line of each level, with arguments of several types.
func LogEachLevel(log interface {
	Trace(string, ...any)
	Debug(string, ...any)
	Info(string, ...any)
	Warn(string, ...any)
	Error(string, ...any)
}) {
	for _, line := range []struct {
		level string
		write func(string, ...any)
	}{{"trace", log.Trace}, {"debug", log.Debug}, {"info", log.Info}, {"warn", log.Warn}, {"error", log.Error}} {
		line.write("a line at "+line.level, "number", 42, "text", fmt.Sprintf("as %s", line.level), "yes", true)
	}
}
