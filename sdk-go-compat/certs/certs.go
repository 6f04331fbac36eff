// Package certs makes one-time certificates as go-plugin's mutual TLS does, so that a test can also make wrong ones.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"
)

// Cert is a self-signed P-521 certificate for localhost, its own trust root.
type Cert struct {
	DER []byte
	Key *ecdsa.PrivateKey
}

// New makes one.
func New() (*Cert, error) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "localhost", Organization: []string{"plugwire tests"}},
		DNSNames:              []string{"localhost"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Cert{DER: der, Key: key}, nil
}

// PEM is the certificate as PLUGIN_CLIENT_CERT carries it.
func (c *Cert) PEM() []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}) }

// TLS is the certificate with its own key.
func (c *Cert) TLS() tls.Certificate { return c.WithKeyOf(c) }

// WithKeyOf is the certificate with a key that may be another's: crypto/tls signs with it and does not compare.
func (c *Cert) WithKeyOf(other *Cert) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.DER}, PrivateKey: other.Key}
}

// Fingerprint is the SHA-256 of a certificate, in hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
