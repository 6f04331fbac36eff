//go:build !goplugin_before_1_6

package vectors

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

type recordCase struct {
	about
	JSON    string
	Records map[string]struct {
		Version, Pid     int
		Test             bool
		Network, Address string
	}
	Error    string
	GoPlugin string `json:"go_plugin"`
}

// go-plugin has the fields but no JSON form, so only valid records are compared, with the form that
// Terraform reads. The meaning of an empty protocol is defined by go-plugin.
func TestReattachRecords(t *testing.T) {
	t.Parallel()
	right, protocols := 0, 0
	for _, c := range vectors[recordCase](t, "reattach-records", 17) {
		var records map[string]plugins.ReattachRecord
		err := json.Unmarshal([]byte(c.JSON), &records)
		switch {
		case c.GoPlugin != "":
			protocols++
			if got := reattachedProtocol(t, records["NAME"].Protocol); string(got) != c.GoPlugin {
				t.Errorf("%s: %s, want %s", c.Name, got, c.GoPlugin)
			}
		case c.Error == "":
			right++
			if err != nil || len(records) != len(c.Records) {
				t.Errorf("%s: %v", c.Name, err)
			}
			for name, want := range c.Records {
				got := records[name]
				if got.Protocol != "grpc" || got.ProtocolVersion != want.Version || got.Pid != want.Pid || got.Test != want.Test ||
					got.Addr != (plugins.ReattachAddr{Network: want.Network, String: want.Address}) {
					t.Errorf("%s: %s is %+v, want %+v", c.Name, name, got, want)
				}
			}
		}
	}
	if right < 7 || protocols < 2 {
		t.Errorf("compared only %d records and %d protocols", right, protocols)
	}
	if reattachedProtocol(t, "grpc") != goplugin.ProtocolGRPC {
		t.Error("every protocol is net/rpc")
	}
}

// reattachedProtocol returns the protocol that a host reads from a record. The record is of test
// mode, so no process is ended.
func reattachedProtocol(t *testing.T, protocol string) goplugin.Protocol {
	listener, err := net.Listen("unix", filepath.Join(folder(t), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := goplugin.NewClient(&goplugin.ClientConfig{
		Logger:  hclog.NewNullLogger(),
		Plugins: pluginSets([]int{1})[1],
		Reattach: &goplugin.ReattachConfig{
			Protocol: goplugin.Protocol(protocol), Addr: listener.Addr(), Pid: os.Getpid(), Test: true,
		},
	})
	if _, err := client.Start(); err != nil {
		t.Fatal(err)
	}
	return client.Protocol()
}

// TestPythonExample runs the example in the README.
func TestPythonExample(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	readme, err := os.ReadFile("../../conformance/vectors/README.md")
	if err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(readme)
	if sample == nil {
		t.Fatal("the README has no Python example")
	}
	command := exec.Command(python, "-c", string(sample[1]))
	command.Dir = "../../conformance/vectors"
	said, err := command.CombinedOutput()
	if err != nil || !regexp.MustCompile(`^19 negotiations are right\n$`).Match(said) {
		t.Errorf("it says %q: %v", said, err)
	}
}
