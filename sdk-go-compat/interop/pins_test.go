package interop

import (
	"bufio"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const (
	goPluginModule = "github.com/hashicorp/go-plugin"
	grpcModule     = "google.golang.org/grpc"
)

// Each binary has the go-plugin and the grpc-go that versions.json promises.
func TestBinariesHoldTheirVersions(t *testing.T) {
	for version, of := range releases {
		for _, program := range of.Programs {
			info, err := buildinfo.ReadFile(bin(version, program))
			if err != nil {
				t.Fatal(err)
			}
			linked := map[string]string{}
			for _, dependency := range info.Deps {
				linked[dependency.Path] = dependency.Version
			}
			if linked[grpcModule] != of.GRPC {
				t.Errorf("%s of %s holds grpc %s, want %s", program, version, linked[grpcModule], of.GRPC)
			}
			// misbehave and tls-probe speak the protocol without go-plugin.
			without := program == "misbehave" || program == "tls-probe"
			if want := of.GoPlugin; !without && linked[goPluginModule] != want {
				t.Errorf("%s of %s holds go-plugin %q, want %q", program, version, linked[goPluginModule], want)
			}
		}
	}
}

// A modfile that is called pinned has the grpc-go that this go-plugin release's own go.mod names.
func TestPinsAreTheReleasesOwn(t *testing.T) {
	for version, of := range releases {
		own := requiredGRPC(t, of.Modfile)
		if of.GRPCPinned && own != of.GRPC {
			t.Errorf("go-plugin %s requires grpc %s, versions.json says %s", version, own, of.GRPC)
		}
		if !of.GRPCPinned && own == of.GRPC {
			t.Errorf("%s is not pinned, but has the release's own grpc %s", version, own)
		}
	}
}

// requiredGRPC reads it from the go.mod in the module cache.
func requiredGRPC(t *testing.T, modfile string) string {
	command := exec.Command("go", "list", "-m", "-json", "-modfile="+modfile, goPluginModule)
	command.Dir = root
	listed, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ GoMod string }
	if err := json.Unmarshal(listed, &module); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(module.GoMod)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) >= 2 && words[0] == grpcModule {
			return words[1]
		}
	}
	t.Fatalf("%s names no grpc", module.GoMod)
	return ""
}
