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

// TestBinariesHoldTheirVersions checks that each binary contains the go-plugin and the grpc-go
// stated in versions.json.
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
				t.Errorf("%s of %s contains grpc %s, want %s", program, version, linked[grpcModule], of.GRPC)
			}
			// misbehave and tls-probe speak the protocol without go-plugin.
			without := program == "misbehave" || program == "tls-probe"
			if want := of.GoPlugin; !without && linked[goPluginModule] != want {
				t.Errorf("%s of %s contains go-plugin %q, want %q", program, version, linked[goPluginModule], want)
			}
		}
	}
}

// TestPinsAreTheReleasesOwn checks that a modfile called pinned uses the grpc-go named in
// go-plugin's own go.mod.
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

// requiredGRPC reads the version from the go.mod in the module cache.
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
	t.Fatalf("%s does not require grpc", module.GoMod)
	return ""
}
