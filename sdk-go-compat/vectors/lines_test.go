//go:build !goplugin_before_1_6

package vectors

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

type lineCase struct {
	about
	Host struct {
		Versions  []int
		Multiplex bool
		MutualTLS bool `json:"mutual_tls"`
	}
	Stdout   text
	Line     *parsedLine
	Error    string
	GoPlugin string `json:"go_plugin"`
}

type parsedLine struct {
	Version           int
	Network, Address  string
	CertificateSHA256 string `json:"certificate_sha256"`
	Multiplex         *bool
}

// saysOf maps the kinds of errors to the messages of go-plugin's host. The first match counts.
var saysOf = []struct{ kind, says string }{
	{"unrecognized", "Unrecognized remote plugin message"},
	{"core-version-not-a-number", "error parsing core protocol version"},
	{"core-version", "incompatible core API version with plugin"},
	{"app-version-not-a-number", "Error parsing protocol version"},
	{"app-version", "incompatible API version with plugin"},
	{"network", "unknown address type"},
	{"address", "address "},
	{"netrpc", `unsupported plugin protocol "netrpc"`},
	{"protocol", "unsupported plugin protocol"},
	{"certificate", "error parsing server cert"},
	{"multiplex-missing", "plugin does not support the feature; for Go plugins"},
	{"multiplex-refused", "plugin does not support the feature"},
	{"multiplex-not-a-bool", "as a boolean for gRPC broker multiplexing"},
}

// started is how a Go host judged a plugin's output.
type started struct {
	// outcome is "accepts", "panics" or a kind of error.
	outcome string
	err     error
	addr    net.Addr
	client  *goplugin.Client
	config  *goplugin.ClientConfig
}

// start makes a Go host start a plugin that prints this.
func start(t *testing.T, stdout []byte, adjust func(*goplugin.ClientConfig)) (s started) {
	t.Helper()
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "stdout"), stdout, 0o600); err != nil {
		t.Fatal(err)
	}
	s.config = &goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: "EXAMPLE_PLUGIN", MagicCookieValue: "hello"},
		VersionedPlugins: pluginSets([]int{1}),
		Cmd:              self(rolePrint, dir),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
		StartTimeout:     patience,
	}
	adjust(s.config)
	s.client = goplugin.NewClient(s.config)
	t.Cleanup(func() {
		if process := s.config.Cmd.Process; process != nil {
			_ = process.Kill()
		}
		if s.outcome == "panics" {
			// The panic also ended the host's own goroutine that waits for the process.
			_ = s.config.Cmd.Wait()
			return
		}
		waitFor(t, "the plugin's end", s.client.Exited)
	})
	defer func() {
		if thrown := recover(); thrown != nil {
			s.outcome, s.err = "panics", fmt.Errorf("%v", thrown)
		}
	}()
	s.addr, s.err = s.client.Start()
	s.outcome = outcome(s.err)
	return s
}

func outcome(err error) string {
	if err == nil {
		return "accepts"
	}
	for _, of := range saysOf {
		if strings.Contains(err.Error(), of.says) {
			return of.kind
		}
	}
	return "an error of unknown kind"
}

func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Errorf("%s did not happen", what)
			return
		}
	}
}

func TestHandshakeLines(t *testing.T) {
	t.Parallel()
	cases := vectors[lineCase](t, "handshake-lines", 80)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := checkLine(t, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("another answer fails", func(t *testing.T) {
		accepted, refused := cases[0], cases[0]
		accepted.Line = &parsedLine{Version: 2, Network: "unix", Address: "/tmp/plugin1"}
		refused.Line, refused.Error = nil, "network"
		if checkLine(t, accepted) == nil || checkLine(t, refused) == nil {
			t.Error("a wrong answer is accepted")
		}
	})
}

func checkLine(t *testing.T, c lineCase) error {
	t.Helper()
	s := start(t, c.Stdout, func(config *goplugin.ClientConfig) {
		config.VersionedPlugins = pluginSets(c.Host.Versions)
		config.AutoMTLS = c.Host.MutualTLS
		config.GRPCBrokerMultiplex = c.Host.Multiplex
	})
	want := "accepts"
	if c.Error != "" {
		want = c.Error
	}
	if c.GoPlugin != "" {
		if c.GoPlugin == want {
			return wrong("go_plugin repeats the expected answer")
		}
		want = c.GoPlugin
	}
	if s.outcome != want {
		return wrong("Go: %s (%v), want %s", s.outcome, s.err, want)
	}
	if c.Line == nil {
		return nil
	}
	if got := s.client.NegotiatedVersion(); got != c.Line.Version {
		return wrong("version %d, want %d", got, c.Line.Version)
	}
	if s.addr.Network() != c.Line.Network || s.addr.String() != resolved(c.Line) {
		return wrong("address %s %s, want %s %s", s.addr.Network(), s.addr, c.Line.Network, c.Line.Address)
	}
	return checkTrusted(s, c.Line.CertificateSHA256)
}

// resolved is the address as Go prints it: host names become numeric.
func resolved(line *parsedLine) string {
	if line.Network == "tcp" {
		if addr, err := net.ResolveTCPAddr("tcp", line.Address); err == nil {
			return addr.String()
		}
	}
	return line.Address
}

// checkTrusted compares the only certificate that the host trusts after it has read the line.
func checkTrusted(s started, fingerprint string) error {
	if fingerprint == "" {
		if s.config.TLSConfig != nil {
			return wrong("the host uses TLS")
		}
		return nil
	}
	lines := strings.Split(string(mustRead(filepath.Join(folderOf(s), "stdout"))), "|")
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimSpace(lines[5]))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(der); hex.EncodeToString(sum[:]) != fingerprint {
		return wrong("the certificate's SHA-256 is %x, want %s", sum, fingerprint)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	only := x509.NewCertPool()
	only.AddCert(certificate)
	if !only.Equal(s.config.TLSConfig.RootCAs) {
		return wrong("the host trusts a different certificate")
	}
	return nil
}

func folderOf(s started) string {
	for _, variable := range s.config.Cmd.Env {
		if value, found := strings.CutPrefix(variable, folderVariable+"="); found {
			return value
		}
	}
	return ""
}

func mustRead(path string) []byte {
	data, err := os.ReadFile(path)
	must(err)
	return data
}
