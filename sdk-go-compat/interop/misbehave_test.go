package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fault is a misbehaviour and the reaction of a Go host of 1.8.0.
type fault struct {
	how   string
	flags []string
	// says is what the host prints on stderr; empty if it greets and succeeds.
	says string
	// code is the host's exit code; panics in Go exit with 2.
	code int
	// witness is an event that the plugin must have recorded.
	witness string
	// late: go-plugin's host does not exit on its own.
	late bool
}

const greets = ""

var (
	withTLS = []string{"--auto-mtls"}
	hasty   = []string{"--start-timeout", "5s"}
	withMux = []string{"--mux"}
)

var faults = []fault{
	{how: "nothing", witness: "greeted"},
	{how: "nothing", flags: withTLS, witness: "handshake"},
	{how: "exits-before-line", says: "Failed to read any lines from plugin's stdout", code: 1, witness: "exiting"},
	{how: "exits-before-line:7", says: "Failed to read any lines from plugin's stdout", code: 1, witness: "exiting"},
	{how: "half-line", says: "Unrecognized remote plugin message: 1|1|un", code: 1, witness: "exiting"},
	{how: "no-line", flags: hasty, says: "timeout while waiting for plugin to start", code: 1, witness: "silent"},
	{how: "endless-line", says: "Failed to read any lines from plugin's stdout", code: 1, witness: "endless"},
	{how: "binary-noise", says: "error parsing core protocol version", code: 1, witness: "written"},
	{how: "noise-then-line", says: "Unrecognized remote plugin message: Loading configuration", code: 1, witness: "noise"},
	{how: "three-fields", says: "Unrecognized remote plugin message: 1|1|unix", code: 1, witness: "line"},
	{how: "four-fields", says: `unsupported plugin protocol "netrpc"`, code: 1, witness: "line"},
	{how: "core-2", says: "incompatible core API version with plugin. Plugin version: 2", code: 1, witness: "line"},
	{how: "app-version-99", says: "incompatible API version with plugin. Plugin version: 99", code: 1, witness: "line"},
	{how: "network-udp", says: "unknown address type", code: 1, witness: "line"},
	{how: "netrpc", says: `unsupported plugin protocol "netrpc"`, code: 1, witness: "line"},
	{how: "unknown-protocol", says: `unsupported plugin protocol "carrier-pigeon"`, code: 1, witness: "line"},
	{how: "nothing", flags: []string{"--mux"}, says: "plugin does not support the feature", code: 1, witness: "line"},
	{how: "mux-false", flags: []string{"--mux"}, says: "plugin does not support the feature", code: 1, witness: "line"},
	{how: "mux-not-a-bool", flags: []string{"--mux"}, says: `error parsing "perhaps" as a boolean`, code: 1, witness: "line"},

	{how: "long-socket-path", says: "invalid argument", code: 1, witness: "line"},
	{how: "missing-socket", says: "no such file or directory", code: 1, witness: "line"},
	{how: "accepts-then-closes", says: "code = Unavailable", code: 1, witness: "closed"},
	{how: "garbage-after-accept", says: "code = Unavailable", code: 1, witness: "garbage"},

	{how: "cert-not-base64", flags: withTLS, says: "error parsing server cert: illegal base64", code: 1, witness: "line"},
	{how: "cert-padded", flags: withTLS, says: "error parsing server cert: illegal base64", code: 1, witness: "line"},
	{how: "cert-not-a-certificate", flags: withTLS, says: "error parsing server cert: x509", code: 1, witness: "line"},
	{how: "cert-of-another-key", flags: withTLS, says: "certificate signed by unknown authority", code: 1, witness: "presented"},
	{how: "cert-replayed", flags: withTLS, says: "invalid signature by the server certificate", code: 1, witness: "presented"},
	{how: "plaintext-but-asked-tls", flags: withTLS, says: "first record does not look like a TLS handshake", code: 1, witness: "plaintext"},
	{how: "cert-but-plaintext-server", flags: withTLS, says: "first record does not look like a TLS handshake", code: 1, witness: "plaintext"},
	{how: "cert-but-plaintext-server", says: "nil pointer dereference", code: 2, witness: "plaintext"},
	{how: "tls-server-no-cert-in-line", says: "code = Unavailable", code: 1, witness: "line"},
	{how: "tls-server-no-cert-in-line", flags: withTLS, says: "certificate signed by unknown authority", code: 1, witness: "presented"},
	{how: "no-alpn", flags: withTLS, says: greets, witness: "handshake"},
	{how: "no-client-auth", flags: withTLS, says: greets, witness: "handshake"},

	{how: "stderr-50mb-line", says: greets, witness: "written"},
	{how: "stderr-invalid-utf8", says: greets, witness: "written"},
	{how: "stderr-message-not-a-string", says: "interface conversion", code: 2, witness: "written"},
	{how: "stderr-flood", says: greets, witness: "written"},
	{how: "stdout-after-line-flood", says: greets, witness: "written"},

	{how: "die-during-call", says: "code = Unavailable", code: 1, witness: "dying"},
	{how: "health-not-serving", says: greets, witness: "greeted"}, // only Ping asks
	{how: "no-stdio-service", says: greets, witness: "no-stdio"},
	{how: "ignores-sigterm", says: greets, witness: "shutting-down"},
	{how: "shutdown-hangs", late: true, witness: "shutdown-hangs"},
	{how: "deaf", late: true, witness: "shutdown-hangs"},
	{how: "grandchild-holds-pipes", late: true, witness: "grandchild"},

	// Only a host that dials is affected by most of these; this shows that the plugins serve.
	{how: "announces:unix:/nowhere", says: greets, witness: "greeted"},
	{how: "announces-served:tcp:127.0.0.1:0", says: greets, witness: "greeted"},
	{how: "announces-links:linked", says: greets, witness: "greeted"},
	{how: "announces-twice", says: greets, witness: "greeted"},
	{how: "announces-many:1000:100", says: greets, witness: "greeted"},
	{how: "brokered-silent", says: greets, witness: "greeted"},
	{how: "brokered-closes", says: greets, witness: "greeted"},
	{how: "mux", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-ack-error", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-ack-late", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-ack-other", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-ack-flood:1000", flags: withMux, says: greets, witness: "acknowledged"},
	{how: "mux-bad-version", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-bad-type", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-huge-frame", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-ends", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-silent", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-closes", flags: withMux, says: greets, witness: "stream"},
	{how: "mux-knock-flood:1000", flags: withMux, says: greets, witness: "knocked-often"},
	// A Go host serves nothing that these could dial afterwards.
	{how: "mux-knock-nobody:1000", flags: withMux, late: true, witness: "knocked-often"},
	{how: "mux-streams:100", flags: withMux, late: true, witness: "opened"},
	{how: "mux-knock-streams:100", flags: withMux, late: true, witness: "greeted"},
}

func TestMisbehave(t *testing.T) {
	onlyIfChanged(t)
	for _, fault := range faults {
		t.Run(strings.Join(append([]string{fault.how}, fault.flags...), ""), func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			witness := filepath.Join(box.dir, "witness")
			command := append([]string{bin("1.8.0", "greeter-host")}, fault.flags...)
			command = append(command, "--", bin("1.8.0", "misbehave"), "--how", fault.how, "--witness", witness)
			limit := 120 * time.Second
			if fault.late {
				limit = 8 * time.Second
			}
			o := box.run(limit, nil, command...)
			if o.late != fault.late {
				t.Errorf("late: %v", o.late)
			}
			if !o.late {
				if o.code != fault.code || !strings.Contains(o.stderr, fault.says) {
					t.Errorf("code %d, stderr %q", o.code, o.stderr)
				}
				if greeted := o.stdout == "Hello, World!\n"; greeted != (fault.code == 0) {
					t.Errorf("stdout %q", o.stdout)
				}
			}
			if told := eventually(t, witness, fault.witness); !slices.Contains(told, fault.witness) {
				t.Errorf("the witness has %v, want %q", told, fault.witness)
			}
			// A host that panicked or was killed leaves its plugin running.
			if o.late || o.code == 2 {
				box.killAll()
			}
			box.noProcesses()
		})
	}
}

// TestMisbehaveListensLate: the host may connect before or after the plugin listens. If it connects
// before, its call fails without waiting. Both outcomes are valid; the plugin must have been late.
func TestMisbehaveListensLate(t *testing.T) {
	onlyIfChanged(t)
	t.Parallel()
	box := newSandbox(t)
	witness := filepath.Join(box.dir, "witness")
	o := box.run(60*time.Second, nil, bin("1.8.0", "greeter-host"), "--",
		bin("1.8.0", "misbehave"), "--how", "listens-late", "--delay", "200ms", "--witness", witness)
	if o.code != 0 && !strings.Contains(o.stderr, "code = Unavailable") {
		t.Errorf("code %d, stderr %q", o.code, o.stderr)
	}
	if told := eventually(t, witness, "line"); !slices.Contains(told, "line") {
		t.Errorf("the witness has %v", told)
	}
	box.noProcesses()
}

// TestMisbehaveNames checks that every name of --list is tried above and described in the README.
func TestMisbehaveNames(t *testing.T) {
	o := newSandbox(t).run(60*time.Second, nil, bin("1.8.0", "misbehave"), "--list")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(o.stdout) {
		tried := slices.ContainsFunc(faults, func(f fault) bool { how, _, _ := strings.Cut(f.how, ":"); return how == name })
		if !tried && name != "listens-late" {
			t.Errorf("%s is not tried", name)
		}
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("%s is not in the README", name)
		}
	}
}

// eventually waits until a witness file has this event, for at most ten seconds, and returns its
// events. The plugin may still have to record what ended its host.
func eventually(t *testing.T, path, event string) []string {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if told := events(t, path); slices.Contains(told, event) || time.Now().After(limit) {
			return told
		}
	}
}

// events returns the events in a witness file so far.
func events(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	var told []string
	for _, line := range lines[:len(lines)-1] {
		var said struct{ Event string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatal(err)
		}
		told = append(told, said.Event)
	}
	return told
}
