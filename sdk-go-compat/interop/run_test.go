package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sandbox is a separate working and socket directory, and a mark in the environment of every
// process started in it.
type sandbox struct {
	t    *testing.T
	dir  string
	mark string
}

var sandboxes atomic.Int64

func newSandbox(t *testing.T) *sandbox {
	// Paths from t.TempDir include the test's name and can be too long for a socket.
	dir, err := os.MkdirTemp("", "pw")
	if err != nil {
		t.Fatal(err)
	}
	s := &sandbox{t: t, dir: dir, mark: fmt.Sprintf("PLUGWIRE_RUN=%d-%d", os.Getpid(), sandboxes.Add(1))}
	t.Cleanup(func() {
		if t.Failed() {
			s.killAll()
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

// outcome is how a process ended.
type outcome struct {
	stdout, stderr string
	code           int
	// late: the process did not exit in time, and was killed with its group.
	late bool
}

// run runs a command until it exits, for at most limit.
func (s *sandbox) run(limit time.Duration, env []string, command ...string) outcome {
	s.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	process := exec.CommandContext(ctx, command[0], command[1:]...)
	process.Dir = s.dir
	process.Env = append(append(os.Environ(), "TMPDIR="+s.dir, s.mark), env...)
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Cancel = func() error { return syscall.Kill(-process.Process.Pid, syscall.SIGKILL) }
	process.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	process.Stdout, process.Stderr = &stdout, &stderr
	err := process.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		s.t.Fatalf("%v: %v", command, err)
	}
	return outcome{stdout.String(), stderr.String(), process.ProcessState.ExitCode(), ctx.Err() != nil}
}

// processes returns the pids of processes with the sandbox's mark.
func (s *sandbox) processes() []int {
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environment, err := os.ReadFile(path)
		if err == nil && bytes.Contains(environment, []byte(s.mark+"\x00")) {
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/environ", &pid); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// killAll kills what a host left behind.
func (s *sandbox) killAll() {
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// noProcesses fails if a process is left after twenty seconds.
func (s *sandbox) noProcesses() {
	s.t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := s.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(limit) {
			s.t.Errorf("processes left: %v", left)
			return
		}
	}
}

// sockets returns the socket files in the sandbox.
func (s *sandbox) sockets() []string {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		if entry.Type()&os.ModeSocket != 0 {
			found = append(found, entry.Name())
		}
	}
	return found
}

// seen is the JSON object that probe-host prints.
type seen struct {
	t   *testing.T
	all map[string]any
}

// lostRace is in the message of a multiplexing Go plugin that receives a stream after it has
// acknowledged the knock and before it has registered the listener. The plugin loses a race with
// itself and serves no more streams.
const lostRace = "that doesn't have a listener"

// probe runs a scenario, which must complete.
func (s *sandbox) probe(host string, args ...string) seen {
	s.t.Helper()
	command := append([]string{bin(host, "probe-host")}, args...)
	o := s.run(180*time.Second, nil, command...)
	for chance := 1; o.code != 0 && strings.Contains(o.stdout, lostRace) && chance < 5; chance++ {
		s.t.Logf("probe-host %v: attempt %d: the plugin lost a race with itself", args, chance)
		// The next attempt is not charged with what this one left.
		for _, socket := range s.sockets() {
			_ = os.Remove(filepath.Join(s.dir, socket))
		}
		o = s.run(180*time.Second, nil, command...)
	}
	result := seen{t: s.t}
	if err := json.Unmarshal([]byte(o.stdout), &result.all); err != nil {
		s.t.Fatalf("probe-host %v: no report: %v\n%s%s", args, err, o.stdout, o.stderr)
	}
	if o.code != 0 || o.late || result.all["ended"] != true {
		s.t.Fatalf("probe-host %v did not end: code %d, late %v\n%s%s", args, o.code, o.late, o.stdout, o.stderr)
	}
	return result
}

// at returns the value at a path like "result.unary.code", or nil.
func (s seen) at(path string) any {
	var here any = s.all
	for _, key := range strings.Split(path, ".") {
		object, ok := here.(map[string]any)
		if !ok {
			return nil
		}
		here = object[key]
	}
	return here
}

// want compares a value of the report; numbers are float64.
func (s seen) want(path string, want any) {
	s.t.Helper()
	if got := s.at(path); got != want {
		s.t.Errorf("%s is %v, want %v", path, got, want)
	}
}

// contains looks for a text in a value of the report.
func (s seen) contains(path, text string) {
	s.t.Helper()
	if got, _ := s.at(path).(string); !strings.Contains(got, text) {
		s.t.Errorf("%s is %q, want it to contain %q", path, got, text)
	}
}
