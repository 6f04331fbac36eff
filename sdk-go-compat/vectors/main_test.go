//go:build !goplugin_before_1_6

// Package vectors asks the real go-plugin for the answers in conformance/vectors, where it can be asked: what stands
// there is what Go does, and a member go_plugin says where that is something else.
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

// patience is how long anything may take on a busy machine.
const patience = 30 * time.Second

// The test's own program also plays the other side of a test. What it plays stands in this variable.
const (
	roleVariable = "PLUGWIRE_VECTORS_ROLE"
	// rolePrint prints the files stdout and stderr of its folder, and writes its environment there.
	rolePrint = "print"
	// roleServe is a real plugin.
	roleServe = "serve"
	// roleLog is a real host, which writes down what a plugin of rolePrint logs.
	roleLog = "log"

	folderVariable = "PLUGWIRE_VECTORS_FOLDER"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	// A host hands its environment on, and it would win over what the plugin is to play.
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
	// The line comes last: when a host has it, the rest is in its pipe.
	printFile(os.Stderr, filepath.Join(folder, "stderr"))
	printFile(os.Stdout, filepath.Join(folder, "stdout"))
	// Until it is killed; not for ever, should its host be gone.
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

// served is a plugin's configuration that travels in a variable.
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

// about is what every case has.
type about struct {
	Name   string   `json:"name"`
	Clause []string `json:"clause"`
	Why    string   `json:"why"`
}

// vectors are the cases of a file, at least so many.
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

// text is the files' form of bytes: a text, or parts.
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

// folder is a short one, for sockets.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// self is this program in another role.
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

// serve starts a real plugin and reads its line; without one it waits for its end.
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
		return r, errors.New("it ended in order")
	}
	if err != nil {
		return r, fmt.Errorf("%q: %w", line, err)
	}
	r.fields = strings.Split(strings.TrimSuffix(line, "\n"), "|")
	return r, nil
}

// end kills the plugin, after which its standard error may be read.
func (r *running) end() {
	_ = r.command.Process.Kill()
	_ = r.command.Wait()
}

// wrong is what a check says of a vector that is not so.
func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }
