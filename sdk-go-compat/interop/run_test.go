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

// sandbox is a working and socket folder of its own, and a mark in the environment of every process started in it.
type sandbox struct {
	t    *testing.T
	dir  string
	mark string
}

var sandboxes atomic.Int64

func newSandbox(t *testing.T) *sandbox {
	// t.TempDir's paths grow with the test's name; a socket path must not.
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
	// late: it did not end in its time, and was killed with its group.
	late bool
}

// run runs a command to its end, at most for limit.
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

// processes are the pids with the sandbox's mark.
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

// killAll ends what a host left behind.
func (s *sandbox) killAll() {
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// noProcesses fails where one is still there after twenty seconds.
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

// sockets are the socket files in the sandbox.
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

// seen is probe-host's JSON object.
type seen struct {
	t   *testing.T
	all map[string]any
}

// A multiplexing Go plugin says this, and serves nobody any more, when a stream comes after it has acknowledged the knock and
// before it has registered the listener: a race of its own.
const lostRace = "that doesn't have a listener"

// probe runs a scenario, which must end.
func (s *sandbox) probe(host string, args ...string) seen {
	s.t.Helper()
	command := append([]string{bin(host, "probe-host")}, args...)
	o := s.run(180*time.Second, nil, command...)
	for chance := 1; o.code != 0 && strings.Contains(o.stdout, lostRace) && chance < 5; chance++ {
		s.t.Logf("probe-host %v: chance %d: the plugin lost a race with itself", args, chance)
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

// at goes down a path like "result.unary.code"; nil where there is nothing.
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

// contains looks for text in a value of the report.
func (s seen) contains(path, text string) {
	s.t.Helper()
	if got, _ := s.at(path).(string); !strings.Contains(got, text) {
		s.t.Errorf("%s is %q, want it to contain %q", path, got, text)
	}
}
