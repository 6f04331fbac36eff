//go:build !goplugin_before_1_6

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/brokerwire"
	"github.com/plugwire/plugwire/sdk-go-compat/certs"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// plugin holds the parts of a correct plugin; a misbehaviour changes one part and calls serve.
type plugin struct {
	how, argument, witness string
	size                   int
	delay                  time.Duration

	// The fields of the line that will be printed, and where.
	fields []string
	// nil for plaintext.
	tls *tls.Config

	health    int32
	noStdio   bool
	greet     func()
	shutdown  func()
	onBroker  func(*brokerwire.Wire)
	session   *session
	listening net.Listener
	telling   sync.Mutex
}

// prepare sets up a correct plugin: a socket, mutual TLS if the host asks for it, and the line.
func (p *plugin) prepare() {
	p.health = contracts.HealthServing
	path := p.freePath()
	listener, err := net.Listen("unix", path)
	p.check(err)
	p.listening = listener
	p.fields = []string{"1", "1", "unix", path, "grpc", ""}
	p.greet = func() {}
	p.onBroker = func(*brokerwire.Wire) {}
	p.shutdown = func() {
		p.tell("shutting-down")
		_ = listener.Close()
		os.Exit(0)
	}
	if os.Getenv("PLUGIN_CLIENT_CERT") != "" {
		p.serveTLS()
	}
}

// serveTLS creates a certificate, announces it and serves it to a host that presents its own.
func (p *plugin) serveTLS() *certs.Cert {
	own := p.newCert()
	p.tls = p.mutualTLS(own.TLS())
	p.fields[5] = base64.RawStdEncoding.EncodeToString(own.DER)
	return own
}

func (p *plugin) newCert() *certs.Cert {
	cert, err := certs.New()
	p.check(err)
	return cert
}

func (p *plugin) freePath() string {
	file, err := os.CreateTemp("", "misbehave")
	p.check(err)
	p.check(file.Close())
	p.check(os.Remove(file.Name()))
	path, err := filepath.Abs(file.Name())
	p.check(err)
	return path
}

// mutualTLS returns a configuration that accepts only the host's certificate.
func (p *plugin) mutualTLS(certificate tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(os.Getenv("PLUGIN_CLIENT_CERT")))
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		ClientCAs:  pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			p.tell("presented", "sha256", certs.Fingerprint(certificate.Certificate[0]), "alpn_offered", hello.SupportedProtos)
			return &certificate, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			p.tell("handshake", "alpn", state.NegotiatedProtocol, "peer_certificates", len(state.PeerCertificates))
			return nil
		},
	}
}

// line prints the handshake line.
func (p *plugin) line() {
	text := strings.Join(p.fields, "|")
	p.tell("line", "line", text)
	p.print(text + "\n")
}

func (p *plugin) print(text string) {
	_, err := os.Stdout.WriteString(text)
	p.check(err)
}

// serve prints the line and serves until Shutdown.
func (p *plugin) serve() {
	p.line()
	p.accept()
}

func (p *plugin) accept() { p.serveMain(p.listening) }

// serveMain serves go-plugin's services and the greeter.
func (p *plugin) serveMain(listener net.Listener) {
	if p.tls != nil {
		listener = tls.NewListener(listener, p.tls)
	}
	server := grpc.NewServer()
	contracts.RegisterGreeter(server, greeter{p})
	contracts.RegisterHealth(server, health{p})
	contracts.RegisterController(server, controller{p})
	contracts.RegisterBroker(server, broker{p})
	if !p.noStdio {
		contracts.RegisterStdio(server, stdio{})
	}
	p.ended(server.Serve(listener))
}

// ended waits for the exit that closed the listener; any other end is a failure.
func (p *plugin) ended(err error) {
	if errors.Is(err, net.ErrClosed) {
		select {}
	}
	p.check(err)
}

// tell appends {"how": …, "event": …, "pid": …, key: value…} to the witness file.
func (p *plugin) tell(event string, pairs ...any) {
	if p.witness == "" {
		return
	}
	p.telling.Lock()
	defer p.telling.Unlock()
	said := map[string]any{"how": p.how, "event": event, "pid": os.Getpid()}
	for i := 0; i+1 < len(pairs); i += 2 {
		said[pairs[i].(string)] = pairs[i+1]
	}
	line, err := json.Marshal(said)
	p.check(err)
	file, err := os.OpenFile(p.witness, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	p.check(err)
	_, err = file.Write(append(line, '\n'))
	p.check(err)
	p.check(file.Close())
}

// check ends the process on an error that is not the misbehaviour, with an exit code that no
// misbehaviour uses.
func (p *plugin) check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "misbehave failed:", err)
		os.Exit(98)
	}
}

type greeter struct{ *plugin }

func (g greeter) Greet(_ context.Context, in *contracts.GreetRequest) (*contracts.GreetResponse, error) {
	g.tell("greeted")
	g.greet()
	return &contracts.GreetResponse{Message: "Hello, " + in.Name + "!"}, nil
}

type health struct{ *plugin }

func (h health) Check(_ context.Context, in *contracts.HealthRequest) (*contracts.HealthResponse, error) {
	h.tell("health", "service", in.Service, "status", h.health)
	if in.Service != "plugin" && in.Service != "" {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &contracts.HealthResponse{Status: h.health}, nil
}

func (h health) Watch(_ *contracts.HealthRequest, stream grpc.ServerStream) error {
	if err := stream.SendMsg(&contracts.HealthResponse{Status: h.health}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

type controller struct{ *plugin }

func (c controller) Shutdown(context.Context, *contracts.Empty) (*contracts.Empty, error) {
	c.shutdown()
	return &contracts.Empty{}, nil
}

// stdio keeps its stream open without sending anything.
type stdio struct{}

func (stdio) StreamStdio(_ *contracts.Empty, stream grpc.ServerStream) error {
	<-stream.Context().Done()
	return nil
}
