//go:build !goplugin_before_1_6

package vectors

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
)

type certificateCase struct {
	about
	Kind        string
	Field       string
	PEM         string
	Certificate string
	Error       string
	Announced   string
	Presented   string
	Key         string
	Result      string
	GoPlugin    string `json:"go_plugin"`
}

// identity is a certificate of the vectors file, with its key.
type identity struct{ PEM, Key, SHA256 string }

func (i identity) der() []byte {
	block, _ := pem.Decode([]byte(i.PEM))
	return block.Bytes
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	var file struct{ Certificates map[string]identity }
	decode(t, "certificates", &file)
	known := file.Certificates
	checks := map[string]func(*testing.T, certificateCase) error{
		"field":    checkField,
		"variable": checkVariable,
		"peer":     func(t *testing.T, c certificateCase) error { return checkPeer(t, known, c) },
	}
	cases := vectors[certificateCase](t, "certificates", 27)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := checks[c.Kind](t, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("the digests are the certificates'", func(t *testing.T) {
		for name, identity := range known {
			if certs.Fingerprint(identity.der()) != identity.SHA256 {
				t.Errorf("%s has a different SHA-256", name)
			}
			if _, err := tls.X509KeyPair([]byte(identity.PEM), []byte(identity.Key)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("another answer fails", func(t *testing.T) {
		for _, c := range cases {
			switch c.Name {
			case "field-padded-1", "variable-no-block":
				c.Error = ""
			case "peer-p256", "peer-other-certificate":
				c.Result = map[string]string{"accept": "refuse", "refuse": "accept"}[c.Result]
			default:
				continue
			}
			if checks[c.Kind](t, c) == nil {
				t.Errorf("%s: a wrong answer is accepted", c.Name)
			}
		}
	})
}

func checkField(t *testing.T, c certificateCase) error {
	s := start(t, []byte("1|1|unix|/tmp/plugin1|grpc|"+c.Field+"\n"), func(config *goplugin.ClientConfig) { config.AutoMTLS = true })
	says := map[string]string{"not-base64": "illegal base64", "not-a-certificate": "x509:"}[c.Error]
	if c.Error == "" {
		return s.err
	}
	if s.outcome != "certificate" || !strings.Contains(s.err.Error(), says) {
		return wrong("Go: %s (%v), want %s", s.outcome, s.err, c.Error)
	}
	return nil
}

func checkVariable(t *testing.T, c certificateCase) error {
	environment := map[string]string{"EXAMPLE_PLUGIN": "hello", "PLUGIN_CLIENT_CERT": c.PEM}
	plugin, err := serve(t, served{"EXAMPLE_PLUGIN", "hello", []int{1}}, folder(t), environment)
	if err != nil {
		return err
	}
	plugin.end()
	refused := strings.Contains(plugin.stderr.String(), "client cert provided but failed to parse")
	if refused != (c.Error != "") {
		return wrong("Go rejects it: %v, %s", refused, plugin.stderr)
	}
	return nil
}

// checkPeer serves TLS with one certificate and announces one: a host that rejects it aborts the
// handshake.
func checkPeer(t *testing.T, known map[string]identity, c certificateCase) error {
	dir := folder(t)
	path := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer listener.Close()
	line := fmt.Sprintf("1|1|unix|%s|grpc|%s\n", path, base64.RawStdEncoding.EncodeToString(known[c.Announced].der()))
	s := start(t, []byte(line), func(config *goplugin.ClientConfig) { config.AutoMTLS = true })
	if s.err != nil {
		return s.err
	}
	// The key may belong to another certificate: crypto/tls signs with it without comparing.
	signer, err := tls.X509KeyPair([]byte(known[c.Key].PEM), []byte(known[c.Key].Key))
	if err != nil {
		return err
	}
	presented := tls.Certificate{Certificate: [][]byte{known[c.Presented].der()}, PrivateKey: signer.PrivateKey}
	// The goroutine waits for the connection; closing it on this side ends the wait.
	connecting := make(chan struct{})
	go func() {
		defer close(connecting)
		_, _ = s.client.Client()
	}()
	defer func() { <-connecting }()
	must(listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	must(conn.SetDeadline(time.Now().Add(patience)))
	secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{presented}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"}})
	got := "accept"
	if err = secured.Handshake(); err != nil {
		got = "refuse"
	}
	want := c.Result
	if c.GoPlugin != "" {
		want = c.GoPlugin
	}
	if got != want {
		return wrong("Go: %s (%v), want %s", got, err, want)
	}
	return nil
}
