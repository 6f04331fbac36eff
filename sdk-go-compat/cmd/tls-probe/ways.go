//go:build !goplugin_before_1_6

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// result is the outcome of one way. With TLS 1.3 the handshake can succeed for the client although
// the plugin rejects it; the first call tells.
type result struct {
	Way         string `json:"way"`
	HandshakeOK bool   `json:"handshake_ok"`
	FirstRPCOK  bool   `json:"first_rpc_ok"`
	Version     string `json:"version,omitempty"`
	ALPN        string `json:"alpn,omitempty"`
	Error       string `json:"error,omitempty"`
}

// target is a plugin, and what its correct host has; parts may be nil.
type target struct {
	network, address string
	server           *x509.Certificate
	own              *tls.Certificate
	timeout          time.Duration
}

// badWays tries the wrong ways, in this order. They do not verify the plugin, so that only the
// plugin's own checks can reject them.
func (t *target) badWays() ([]result, error) {
	other, err := certs.New()
	if err != nil {
		return nil, err
	}
	bad := func(change func(*tls.Config)) *tls.Config {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h2"}}
		change(config)
		return config
	}
	// A Go client omits a certificate that the server's hint excludes; these clients always present
	// theirs.
	present := func(certificate tls.Certificate) func(*tls.Config) {
		return func(config *tls.Config) {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &certificate, nil
			}
		}
	}
	results := []result{
		t.try("no-certificate", bad(func(*tls.Config) {})),
		t.try("other-certificate", bad(present(other.TLS()))),
	}
	if t.own != nil {
		stolen := tls.Certificate{Certificate: t.own.Certificate, PrivateKey: other.Key}
		results = append(results, t.try("right-certificate-other-key", bad(present(stolen))))
	}
	results = append(results, t.try("plaintext", nil), t.try("tls-1.1", bad(func(config *tls.Config) {
		if t.own != nil && t.own.PrivateKey != nil {
			present(*t.own)(config)
		}
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	})))
	return results, nil
}

// rightWay verifies the plugin and presents the correct certificate.
func (t *target) rightWay() result {
	roots := x509.NewCertPool()
	roots.AddCert(t.server)
	return t.try("right", &tls.Config{
		MinVersion:   tls.VersionTLS12,
		RootCAs:      roots,
		ServerName:   "localhost",
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{*t.own},
	})
}

// try connects once and makes one call, a health check.
func (t *target) try(way string, config *tls.Config) result {
	seen := result{Way: way}
	ctx, stop := context.WithTimeout(context.Background(), t.timeout)
	defer stop()
	raw, err := (&net.Dialer{}).DialContext(ctx, t.network, t.address)
	if err != nil {
		seen.Error = err.Error()
		return seen
	}
	defer raw.Close()
	conn := raw
	if config != nil {
		secured := tls.Client(raw, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			seen.Error = err.Error()
			return seen
		}
		state := secured.ConnectionState()
		seen.Version, seen.ALPN = tls.VersionName(state.Version), state.NegotiatedProtocol
		conn = secured
	}
	seen.HandshakeOK = true
	if err := call(ctx, conn); err != nil {
		seen.Error = err.Error()
		return seen
	}
	seen.FirstRPCOK = true
	return seen
}

// call checks the health of "plugin" over this one connection.
func call(ctx context.Context, conn net.Conn) error {
	channel, err := overConn(conn)
	if err != nil {
		return err
	}
	defer channel.Close()
	_, err = contracts.HealthClient{Conn: channel}.Check(ctx, &contracts.HealthRequest{Service: "plugin"})
	return err
}

// overConn returns a channel over that connection only. (grpc.WithInsecure is the name that every
// pinned grpc-go has.)
func overConn(conn net.Conn) (*grpc.ClientConn, error) {
	unused := make(chan net.Conn, 1)
	unused <- conn
	return grpc.Dial("unused", grpc.WithInsecure(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-unused:
				return conn, nil
			default:
				return nil, net.ErrClosed
			}
		}))
}
