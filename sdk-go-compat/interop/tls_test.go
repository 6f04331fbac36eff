package interop

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
)

// writeCert writes a certificate and its key as PEM files.
func writeCert(t *testing.T, dir string) (cert, key string) {
	made, err := certs.New()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(made.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(cert, made.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(key, keyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

type tlsReport struct {
	Exit string `json:"exit"`
	Ways []struct {
		Way         string `json:"way"`
		HandshakeOK bool   `json:"handshake_ok"`
		FirstRPCOK  bool   `json:"first_rpc_ok"`
		Error       string `json:"error"`
	} `json:"ways"`
}

// tryTLS returns the outcome of each way.
func tryTLS(t *testing.T, command ...string) map[string]bool {
	box := newSandbox(t)
	o := box.run(120*time.Second, nil, append([]string{bin("1.8.0", "tls-probe"), "--"}, command...)...)
	var report tlsReport
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || o.code != 0 {
		t.Fatalf("tls-probe: code %d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	if report.Exit != "exit status 0" {
		t.Errorf("the plugin ended with %s", report.Exit)
	}
	box.noProcesses()
	got := map[string]bool{}
	for _, way := range report.Ways {
		got[way.Way] = way.FirstRPCOK
	}
	return got
}

func wantWays(t *testing.T, got, want map[string]bool) {
	t.Helper()
	for way, in := range want {
		if was, tried := got[way]; !tried || was != in {
			t.Errorf("%s: tried %v, accepted %v, want %v", way, tried, was, in)
		}
	}
}

// TestMutualTLSOfEachRelease checks that only the correct host is accepted.
func TestMutualTLSOfEachRelease(t *testing.T) {
	for _, version := range liveVersions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			wantWays(t, tryTLS(t, bin(version, "greeter-plugin")), map[string]bool{
				"no-certificate": false, "other-certificate": false, "right-certificate-other-key": false,
				"plaintext": false, "tls-1.1": false, "right": true,
			})
		})
	}
}

// TestMutualTLSMissing checks that the probe reports a plugin that accepts every host.
func TestMutualTLSMissing(t *testing.T) {
	wantWays(t, tryTLS(t, bin("1.8.0", "misbehave"), "--how", "no-client-auth"), map[string]bool{
		"no-certificate": true, "other-certificate": true, "right-certificate-other-key": true, "plaintext": false, "right": true,
	})
}
