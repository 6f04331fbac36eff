//go:build !goplugin_before_1_6

package vectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

type logCase struct {
	about
	Stderr   text
	Entries  []logEntry
	GoPlugin json.RawMessage `json:"go_plugin"`
}

type logEntry struct {
	Level     string
	Message   text
	Fields    map[string]any
	Module    string
	Timestamp string
	Pieces    bool
}

// logged is an entry as a host's logger receives it.
type logged struct {
	Level, Message string
	// Fields is nil for a line that is not an hclog record.
	Fields map[string]any
}

// recorder keeps what the plugin logs, in order.
type recorder struct {
	name    string
	entries []logged
}

func (r *recorder) Accept(name string, level hclog.Level, message string, args ...any) {
	if name != r.name {
		return
	}
	entry := logged{Level: level.String(), Message: message}
	for i := 0; i+1 < len(args); i += 2 {
		if entry.Fields == nil {
			entry.Fields = map[string]any{}
		}
		entry.Fields[args[i].(string)] = args[i+1]
	}
	r.entries = append(r.entries, entry)
}

// playLogHost runs a plugin of rolePrint under a Go host and prints what it logged.
func playLogHost(folder string) {
	command := self(rolePrint, folder)
	recorder := &recorder{name: "host." + filepath.Base(command.Path)}
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "host", Level: hclog.Trace, Output: io.Discard})
	logger.RegisterSink(recorder)
	client := goplugin.NewClient(&goplugin.ClientConfig{
		VersionedPlugins: pluginSets([]int{1}),
		Cmd:              command,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Logger:           logger,
		StartTimeout:     patience,
	})
	_, err := client.Start()
	must(err)
	// go-plugin reports the exit only after it has read both pipes to their end.
	must(command.Process.Kill())
	for limit := time.Now().Add(patience); !client.Exited() && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	must(json.NewEncoder(os.Stdout).Encode(recorder.entries))
}

func TestHclogLines(t *testing.T) {
	t.Parallel()
	cases := vectors[logCase](t, "hclog-lines", 50)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := checkLog(t, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("another answer fails", func(t *testing.T) {
		level, message := cases[0], cases[0]
		level.Entries = []logEntry{cases[0].Entries[0]}
		level.Entries[0].Level = "warn"
		message.Entries = append(message.Entries, logEntry{Level: "debug"})
		if checkLog(t, level) == nil || checkLog(t, message) == nil {
			t.Error("a wrong answer is accepted")
		}
	})
}

func checkLog(t *testing.T, c logCase) error {
	dir := folder(t)
	must(os.WriteFile(filepath.Join(dir, "stderr"), c.Stderr, 0o600))
	must(os.WriteFile(filepath.Join(dir, "stdout"), []byte("1|1|unix|/tmp/plugin1|grpc|\n"), 0o600))
	host := self(roleLog, dir)
	host.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	host.Stderr = &stderr
	stdout, err := host.Output()
	if string(c.GoPlugin) == `"panics"` {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(stderr.String(), "interface conversion") {
			return wrong("the host does not panic: %v, %s", err, &stderr)
		}
		// The plugin is in the host's process group. It may have ended already: a write to a host that
		// is gone kills it.
		if err := syscall.Kill(-host.Process.Pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return err
		}
		return nil
	}
	if err != nil {
		return wrong("%w: %s", err, &stderr)
	}
	var got []logged
	if err := decodeNumbers(stdout, &got); err != nil {
		return err
	}
	right := compareLog(got, c.Entries)
	if c.GoPlugin == nil {
		return right
	}
	if right == nil {
		return wrong("go_plugin repeats the expected answer")
	}
	var instead []logEntry
	if err := decodeNumbers(c.GoPlugin, &instead); err != nil {
		return err
	}
	return compareLog(got, instead)
}

func decodeNumbers(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func compareLog(got []logged, want []logEntry) error {
	for _, entry := range want {
		if len(got) == 0 {
			return wrong("no entry where %q is wanted", entry.Message)
		}
		first := got[0]
		got = got[1:]
		for entry.Pieces && len(first.Message) < len(entry.Message) && len(got) > 0 && got[0].Level == "debug" {
			first.Message += got[0].Message
			got = got[1:]
		}
		if first.Level != entry.Level || first.Message != string(entry.Message) {
			return wrong("%s %.80q, want %s %.80q", first.Level, first.Message, entry.Level, entry.Message)
		}
		if wanted := entry.asLogged(); !reflect.DeepEqual(first.Fields, wanted) {
			return wrong("fields %v, want %v", first.Fields, wanted)
		}
	}
	if len(got) > 0 {
		return wrong("more entries: %q", got)
	}
	return nil
}

// asLogged returns the fields as a Go host logs them, which include module and timestamp.
func (e logEntry) asLogged() map[string]any {
	if e.Fields == nil {
		return nil
	}
	fields := map[string]any{"timestamp": time.Time{}.Format(hclog.TimeFormat)}
	for name, value := range e.Fields {
		fields[name] = value
	}
	if e.Module != "" {
		fields["@module"] = e.Module
	}
	if e.Timestamp != "" {
		at, err := time.Parse(time.RFC3339Nano, e.Timestamp)
		must(err)
		fields["timestamp"] = at.Format(hclog.TimeFormat)
	}
	return fields
}
