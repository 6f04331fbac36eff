//go:build !goplugin_before_1_6

// Package vectors checks the answers in conformance/vectors against the real go-plugin, where it
// can be asked. The vectors record what Go does; a member go_plugin records where Go differs from
// the expected answer.
package vectors

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

// patience is the limit for anything on a busy machine.
const patience = 30 * time.Second

// The test program also plays the other side of a test. This variable selects which.
const (
	roleVariable = "PLUGWIRE_VECTORS_ROLE"
	// rolePrint prints the files stdout and stderr of its directory, and writes its environment
	// there.
	rolePrint = "print"
	// roleServe is a real plugin.
	roleServe = "serve"
	// roleLog is a real host that records what a plugin of rolePrint logs.
	roleLog = "log"

	folderVariable = "PLUGWIRE_VECTORS_FOLDER"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	// A host passes its environment on, which would override the role of the plugin.
	_ = os.Unsetenv(roleVariable)
	switch role {
	case "":
		os.Exit(m.Run())
	case rolePrint:
		playPrinter(os.Getenv(folderVariable))
	case roleServe:
		playPlugin()
	case roleLog:
		playLogHost(os.Getenv(folderVariable))
	}
}

func playPrinter(folder string) {
	environ, err := json.Marshal(os.Environ())
	must(err)
	must(os.WriteFile(filepath.Join(folder, "environ"), environ, 0o600))
	// The line comes last: once a host has it, everything else is in its pipe.
	printFile(os.Stderr, filepath.Join(folder, "stderr"))
	printFile(os.Stdout, filepath.Join(folder, "stdout"))
	// Run until killed, but not forever in case the host is gone.
	time.Sleep(2 * patience)
}

func printFile(to *os.File, path string) {
	what, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	must(err)
	_, err = to.Write(what)
	must(err)
	must(to.Close())
}

// served is a plugin's configuration, passed in a variable.
type served struct {
	Key, Value string
	Versions   []int
}

const servedVariable = "PLUGWIRE_VECTORS_SERVED"

func playPlugin() {
	var config served
	must(json.Unmarshal([]byte(os.Getenv(servedVariable)), &config))
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: config.Key, MagicCookieValue: config.Value},
		VersionedPlugins: pluginSets(config.Versions),
		GRPCServer:       goplugin.DefaultGRPCServer,
	})
}

func pluginSets(versions []int) map[int]goplugin.PluginSet {
	sets := map[int]goplugin.PluginSet{}
	for _, version := range versions {
		sets[version] = goplugin.PluginSet{"any": &plugins.Served{Register: func(*goplugin.GRPCBroker, *grpc.Server) {}}}
	}
	return sets
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// about holds what every case has.
type about struct {
	Name   string   `json:"name"`
	Clause []string `json:"clause"`
	Why    string   `json:"why"`
}

// vectors returns the cases of a file, and fails if there are fewer than atLeast.
func vectors[C any](t *testing.T, name string, atLeast int) []C {
	t.Helper()
	var file struct {
		Format int
		About  string
		Cases  []C
	}
	decode(t, name, &file)
	if file.Format != 1 || len(file.Cases) < atLeast {
		t.Fatalf("%s: format %d, %d cases; there were %d", name, file.Format, len(file.Cases), atLeast)
	}
	return file.Cases
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../conformance/vectors", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// text is a byte string in the form of the files: a text, or parts.
type text []byte

func (b *text) UnmarshalJSON(data []byte) error {
	var parts []json.RawMessage
	if data[0] != '[' {
		parts = []json.RawMessage{data}
	} else if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	for _, part := range parts {
		var whole string
		if json.Unmarshal(part, &whole) == nil {
			*b = append(*b, whole...)
			continue
		}
		var made struct {
			Base64, Repeat string
			Times          int
		}
		if err := json.Unmarshal(part, &made); err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(made.Base64)
		if err != nil {
			return err
		}
		*b = append(append(*b, raw...), strings.Repeat(made.Repeat, made.Times)...)
	}
	return nil
}

// folder creates a directory with a short path, for sockets.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// self returns a command that runs this program in another role.
func self(role, folder string) *exec.Cmd {
	command := exec.Command(os.Args[0])
	command.Env = []string{roleVariable + "=" + role, folderVariable + "=" + folder, "TMPDIR=" + folder}
	return command
}

// running is a plugin of roleServe.
type running struct {
	command *exec.Cmd
	fields  []string
	stderr  *bytes.Buffer
}

// serve starts a real plugin and reads its line; without a line it waits for the plugin's exit.
func serve(t *testing.T, config served, dir string, environment map[string]string) (*running, error) {
	t.Helper()
	command := self(roleServe, dir)
	asked, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	command.Env = append(command.Env, servedVariable+"="+string(asked))
	for name, value := range environment {
		command.Env = append(command.Env, name+"="+value)
	}
	r := &running{command: command, stderr: &bytes.Buffer{}}
	command.Stderr = r.stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
	t.Cleanup(func() {
		watch.Stop()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == io.EOF && line == "" {
		if err := command.Wait(); err != nil {
			return r, err
		}
		return r, errors.New("the plugin exited normally")
	}
	if err != nil {
		return r, fmt.Errorf("%q: %w", line, err)
	}
	r.fields = strings.Split(strings.TrimSuffix(line, "\n"), "|")
	return r, nil
}

// end kills the plugin, after which its standard error can be read.
func (r *running) end() {
	_ = r.command.Process.Kill()
	_ = r.command.Wait()
}

// wrong is the error of a check whose vector does not hold.
func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }
