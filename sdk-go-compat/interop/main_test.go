// Package interop runs real Go hosts against real Go plugins of every release: the reference that
// other implementations are compared with. It builds what it needs into the repository's directory
// target/go-peers and reuses it the next time. As long as no source changes, releases other than
// the newest run only in a soak.
package interop

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// release is an entry of versions.json.
type release struct {
	Modfile     string   `json:"modfile"`
	Tags        []string `json:"tags"`
	GoPlugin    string   `json:"go_plugin"`
	GRPC        string   `json:"grpc"`
	GRPCPinned  bool     `json:"grpc_pinned"`
	Multiplexes bool     `json:"multiplexes"`
	Programs    []string `json:"programs"`
}

// example is an entry of examples.json.
type example struct {
	Package   string `json:"package"`
	Binary    string `json:"binary"`
	Role      string `json:"role"`
	Transport string `json:"transport"`
	// The host exits without ending its plugin.
	LeavesPlugin bool `json:"leaves_plugin"`
}

var (
	releases map[string]release
	examples map[string][]example
	// root is the directory sdk-go-compat.
	root string
)

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	flag.Parse()
	// The tests mostly wait for processes.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := recordIfBlessed(code); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func prepare() error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	root = filepath.Dir(here)
	var table struct {
		Versions map[string]release `json:"versions"`
	}
	if err := readJSON("versions.json", &table); err != nil {
		return err
	}
	releases = table.Versions
	if err := readJSON("examples.json", &examples); err != nil {
		return err
	}
	// cargo xtask test has built them.
	if os.Getenv("PLUGWIRE_BUILT") != "" {
		return nil
	}
	for _, version := range versions() {
		if err := build(version); err != nil {
			return err
		}
	}
	return nil
}

func readJSON(name string, into any) error {
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// versions returns the names in versions.json, in order.
func versions() []string {
	var all []string
	for version := range releases {
		all = append(all, version)
	}
	slices.Sort(all)
	return all
}

// build builds all programs of a version. Go skips those that are up to date.
func build(version string) error {
	programs := []string{}
	for _, program := range releases[version].Programs {
		programs = append(programs, "./cmd/"+program)
	}
	return goBuild(version, built(version, "peers"), programs...)
}

// buildExamples builds go-plugin's own examples: every row of examples.json, one by one because
// their names clash.
func buildExamples(t *testing.T, version string) {
	t.Helper()
	for _, example := range examples[version] {
		if err := goBuild(version, built(version, example.Binary), example.Package); err != nil {
			t.Fatal(err)
		}
	}
}

// goBuild builds programs into a directory, one process at a time: Rust's tests build into it, too.
func goBuild(version, output string, packages ...string) error {
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	lock, err := os.Create(filepath.Join(target(), "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	of := releases[version]
	args := []string{"build", "-modfile=" + of.Modfile, "-tags=" + strings.Join(of.Tags, ","), "-o", output + "/"}
	args = append(args, packages...)
	command := exec.Command("go", args...)
	command.Dir = root
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: go %s: %w\n%s", version, strings.Join(args, " "), err, said)
	}
	return nil
}

// target returns the directory of the built programs. The Rust tests use the same one.
func target() string { return filepath.Join(filepath.Dir(root), "target", "go-peers") }

func built(version, what string) string { return filepath.Join(target(), version, what) }

// bin returns the path of a program of a version: one of ours, or one of go-plugin's examples.
func bin(version, program string) string {
	for _, example := range examples[version] {
		if example.Binary == program {
			return filepath.Join(built(version, program), path.Base(example.Package))
		}
	}
	return filepath.Join(built(version, "peers"), program)
}
