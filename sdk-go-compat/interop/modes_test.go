package interop

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReattach: a plugin outlives its host (--leave), and the next host reattaches and ends it.
func TestReattach(t *testing.T) {
	for _, pair := range pairs() {
		// Reattaching is not possible with multiplexing or mutual TLS.
		if pair.mtls || pair.mux {
			continue
		}
		t.Run(pair.String(), func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			left := box.probe(pair.host, "start", "--leave", "--", bin(pair.plugin, "probe-plugin"))
			record, err := json.Marshal(left.at("start.record"))
			if err != nil {
				t.Fatal(err)
			}
			if running := box.processes(); len(running) != 1 {
				t.Fatalf("running: %v", running)
			}
			s := box.probe(pair.host, "reattach", "--reattach", string(record))
			checkEcho(pair, s)
			// A reattached host checks once a second whether the process is gone.
			s.want("kill.hung", false)
			box.noProcesses()
			if sockets := box.sockets(); len(sockets) != 0 {
				t.Errorf("sockets left: %v", sockets)
			}
		})
	}
}

// TestTestMode: a plugin in test mode prints a record, serves hosts that reattach, and exits when
// its stdin ends.
func TestTestMode(t *testing.T) {
	for _, version := range liveVersions() {
		if version == "1.0.1" {
			continue // test mode came with 1.3.0
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			plugin := exec.Command(bin(version, "probe-plugin"), "--test-mode", "--versions", "4")
			plugin.Env = append(os.Environ(), "TMPDIR="+box.dir, box.mark)
			stdin, err := plugin.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := plugin.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := plugin.Start(); err != nil {
				t.Fatal(err)
			}
			limit := time.AfterFunc(120*time.Second, func() { _ = plugin.Process.Kill() })
			defer limit.Stop()
			record, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := box.probe("1.8.0", "reattach", "--reattach", strings.TrimSpace(record))
				checkEcho(pair{}, s)
				s.want("start.version", 4.0)
			}
			if err := stdin.Close(); err != nil {
				t.Fatal(err)
			}
			if err := plugin.Wait(); err != nil {
				t.Error(err)
			}
			box.noProcesses()
			if sockets := box.sockets(); len(sockets) != 0 {
				t.Errorf("sockets left: %v", sockets)
			}
		})
	}
}

// TestOwnTLS uses a TLS configuration by the user instead of one-time certificates.
func TestOwnTLS(t *testing.T) {
	for _, version := range liveVersions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			cert, key := writeCert(t, box.dir)
			files := []string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", cert}
			plugin := append([]string{"--", bin(version, "probe-plugin")}, files...)
			checkEcho(pair{}, box.probe("1.8.0", slices.Concat([]string{"echo"}, files, plugin)...))

			// A host without a certificate is rejected.
			s := box.probe("1.8.0", slices.Concat([]string{"echo", "--tls-ca", cert}, plugin)...)
			s.want("result.error.name", "Unavailable")
			box.noProcesses()
		})
	}
}

// TestMuch: 64 MiB both ways, a million small messages, a 200 MB upload, and the plugin's output.
func TestMuch(t *testing.T) {
	onlyIfChanged(t)
	for _, version := range []string{"1.4.8", "1.8.0", "1.8.0-newest"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			play := func(args ...string) seen {
				return box.probe(version, append(args, "--timeout", "150s", "--", bin(version, "probe-plugin"), "--unlimited")...)
			}
			checkLarge(pair{}, play("large"))
			play("stream", "--kind", "chat", "--count", "100000", "--size", "1").want("result.chat.intact", true)
			play("stream", "--kind", "upload", "--count", "3200", "--size", "65536").want("result.upload.intact", true)
			printed := play("stdio", "--size", "1000000")
			printed.want("result.stdout.intact", true)
			printed.want("result.stderr.intact", true)
			box.noProcesses()
		})
	}
}

// TestDeaths tries the other ways to die; with "stop", Kill hangs until SIGKILL.
func TestDeaths(t *testing.T) {
	onlyIfChanged(t)
	t.Parallel()
	for _, how := range []string{"panic", "panic-thread", "kill", "abort"} {
		box := newSandbox(t)
		s := box.probe("1.8.0", "die", "--how", how, "--", bin("1.8.0", "probe-plugin"))
		checkDie(pair{}, s)
		box.noProcesses()
	}
	box := newSandbox(t)
	s := box.probe("1.8.0", "die", "--how", "stop", "--patience", "300ms", "--kill-timeout", "3s", "--", bin("1.8.0", "probe-plugin"))
	s.want("result.call.name", "DeadlineExceeded")
	s.want("result.exited", false)
	s.want("kill.hung", true)
	s.want("kill.exited", true)
	box.noProcesses()
}

// TestExamples runs go-plugin's own examples, host with plugin, and replaces either side with ours.
func TestExamples(t *testing.T) {
	onlyIfChanged(t)
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			buildExamples(t, version)
			box := newSandbox(t)
			keep := func(host, plugin string) {
				t.Helper()
				env := []string{"KV_PROTO=grpc", "KV_PLUGIN='" + plugin + "'"}
				box.want(box.run(60*time.Second, env, host, "put", "key", "value"), "")
				stored, err := os.ReadFile(filepath.Join(box.dir, "kv_key"))
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(string(stored), "value\n\nWritten from ") {
					t.Errorf("stored %q", stored)
				}
				box.want(box.run(60*time.Second, env, host, "get", "key"), string(stored)+"\n")
			}
			keep(bin(version, "grpc-host"), bin(version, "grpc-plugin"))
			keep(bin(version, "grpc-host"), bin(version, "kv-plugin"))
			if leaves := examples[version][0].LeavesPlugin; leaves != (len(box.processes()) > 0) {
				t.Errorf("grpc-host leaves %v", box.processes())
			}
			box.killAll()
			keep(bin("1.8.0", "kv-host"), bin(version, "grpc-plugin"))

			box.link(bin(version, "negotiated-plugin"), "kv-plugin")
			negotiated := bin(version, "negotiated-host")
			box.want(box.run(60*time.Second, []string{"KV_PROTO=grpc"}, negotiated, "put", "three", "value"), "")
			box.want(box.run(60*time.Second, []string{"KV_PROTO=grpc"}, negotiated, "get", "three"),
				"value\n\nWritten from plugin version 3\nRead by plugin version 3\n\n")

			counter := []string{"COUNTER_PLUGIN='" + bin(version, "bidirectional-plugin") + "'"}
			box.want(box.run(60*time.Second, counter, bin(version, "bidirectional-host"), "put", "sum", "3"), "")
			box.want(box.run(60*time.Second, counter, bin(version, "bidirectional-host"), "put", "sum", "4"), "")
			box.want(box.run(60*time.Second, counter, bin(version, "bidirectional-host"), "get", "sum"), "7\n")
			box.noProcesses()
			if strings.HasPrefix(version, "1.8.0") {
				streamingExample(t, version)
			}
		})
	}
}

// streamingExample: the streaming example is new in 1.8.0. Its plugin ends a client stream without
// a response, which the newest grpc-go reports as an error.
func streamingExample(t *testing.T, version string) {
	box := newSandbox(t)
	box.link(bin(version, "streaming-plugin"), "plugin/streamer")
	o := box.run(60*time.Second, nil, bin(version, "streaming-host"), "file")
	if want := version == "1.8.0"; (o.code == 0) != want || strings.Contains(o.stderr, "received 26 bytes") != want {
		t.Errorf("code %d\n%s", o.code, o.stderr)
	}
	// log.Fatal in that host leaves the plugin running.
	box.killAll()
	box.noProcesses()
}

// want compares what a program printed; it must have succeeded.
func (s *sandbox) want(o outcome, stdout string) {
	s.t.Helper()
	if o.code != 0 || o.late || o.stdout != stdout {
		s.t.Errorf("code %d, late %v, stdout %q, want %q\n%s", o.code, o.late, o.stdout, stdout, o.stderr)
	}
}

// link puts a program where a host looks for it.
func (s *sandbox) link(program, name string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(program, path); err != nil {
		s.t.Fatal(err)
	}
}
