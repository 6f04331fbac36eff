//go:build !goplugin_before_1_6

package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
)

// certNotBase64 has a certificate field that is not base64, and a correct TLS server.
func certNotBase64(p *plugin) {
	p.fields[5] = strings.Repeat("not*base64!", 20)
	p.serve()
}

// certPadded announces the right certificate in base64 with padding, which go-plugin rejects.
func certPadded(p *plugin) {
	own := p.serveTLS()
	for len(own.DER)%3 == 0 {
		own = p.serveTLS()
	}
	p.fields[5] = base64.StdEncoding.EncodeToString(own.DER)
	p.serve()
}

// certNotACertificate announces valid base64 of something that is not a certificate.
func certNotACertificate(p *plugin) {
	p.fields[5] = base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("no certificate ", 20)))
	p.serve()
}

// certOfAnotherKey announces one certificate and serves another, each with its own key.
func certOfAnotherKey(p *plugin) {
	announced, served := p.serveTLS(), p.newCert()
	p.tls = p.mutualTLS(served.TLS())
	p.tell("certificates", "announced", certs.Fingerprint(announced.DER), "served", certs.Fingerprint(served.DER))
	p.serve()
}

// certReplayed announces and presents a certificate without its key: it signs with a different one.
func certReplayed(p *plugin) {
	announced, signer := p.serveTLS(), p.newCert()
	p.tls = p.mutualTLS(announced.WithKeyOf(signer))
	p.tell("certificates", "announced", certs.Fingerprint(announced.DER), "key_of", certs.Fingerprint(signer.DER))
	p.serve()
}

// plaintextButAskedTLS answers a host that requested mutual TLS without a certificate, and serves
// plaintext.
func plaintextButAskedTLS(p *plugin) {
	p.tell("plaintext", "asked", p.tls != nil)
	p.tls, p.fields[5] = nil, ""
	p.serve()
}

// certButPlaintextServer announces a certificate and serves plaintext.
func certButPlaintextServer(p *plugin) {
	p.tell("plaintext", "announced", certs.Fingerprint(p.serveTLS().DER))
	p.tls = nil
	p.serve()
}

// tlsServerNoCertInLine serves TLS without announcing it in the line.
func tlsServerNoCertInLine(p *plugin) {
	p.serveTLS()
	p.fields[5] = ""
	p.serve()
}

// noALPN serves mutual TLS without ever negotiating h2.
func noALPN(p *plugin) {
	p.serveTLS()
	p.tls.NextProtos = nil
	p.serve()
}

// noClientAuth serves TLS to any client. A host with mutual TLS does not notice.
func noClientAuth(p *plugin) {
	p.serveTLS()
	p.tls.ClientAuth = tls.NoClientCert
	p.serve()
}

// overStream returns a channel to the host over one stream, with the session's TLS. The host's
// certificate is for "localhost".
func (p *plugin) overStream(stream net.Conn) (*grpc.ClientConn, error) {
	if p.tls != nil {
		presented, err := p.tls.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			return nil, err
		}
		stream = tls.Client(stream, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, ServerName: "localhost",
			RootCAs: p.tls.ClientCAs, Certificates: []tls.Certificate{*presented},
		})
	}
	unused := make(chan net.Conn, 1)
	unused <- stream
	return grpc.Dial("unused", grpc.WithInsecure(), grpc.WithBlock(), grpc.WithTimeout(patience),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-unused:
				return conn, nil
			default:
				return nil, net.ErrClosed
			}
		}))
}
