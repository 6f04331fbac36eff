//go:build !goplugin_before_1_6

package main

import (
	"crypto/tls"
	"encoding/base64"
	"strings"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
)

// certNotBase64 has a certificate field that is not base64, and a good TLS server.
func certNotBase64(p *plugin) {
	p.fields[5] = strings.Repeat("not*base64!", 20)
	p.serve()
}

// certPadded has the right certificate, but in base64 with padding, which go-plugin refuses.
func certPadded(p *plugin) {
	own := p.serveTLS()
	for len(own.DER)%3 == 0 {
		own = p.serveTLS()
	}
	p.fields[5] = base64.StdEncoding.EncodeToString(own.DER)
	p.serve()
}

// certNotACertificate has good base64 of what is no certificate.
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

// certReplayed announces a certificate and presents it too, but signs with another key: it does not own it.
func certReplayed(p *plugin) {
	announced, signer := p.serveTLS(), p.newCert()
	p.tls = p.mutualTLS(announced.WithKeyOf(signer))
	p.tell("certificates", "announced", certs.Fingerprint(announced.DER), "key_of", certs.Fingerprint(signer.DER))
	p.serve()
}

// plaintextButAskedTLS answers a host that asked for mutual TLS without a certificate, and serves plaintext.
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

// tlsServerNoCertInLine serves TLS, and the line does not say so.
func tlsServerNoCertInLine(p *plugin) {
	p.serveTLS()
	p.fields[5] = ""
	p.serve()
}

// noALPN serves mutual TLS that never agrees on h2.
func noALPN(p *plugin) {
	p.serveTLS()
	p.tls.NextProtos = nil
	p.serve()
}

// noClientAuth serves TLS to anybody. A host with mutual TLS does not notice.
func noClientAuth(p *plugin) {
	p.serveTLS()
	p.tls.ClientAuth = tls.NoClientCert
	p.serve()
}
