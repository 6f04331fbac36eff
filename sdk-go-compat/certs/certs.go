// Package certs creates one-time certificates like go-plugin's mutual TLS, so that tests can also
// create wrong ones.
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

// Cert is a self-signed P-521 certificate for localhost; it is its own trust root.
type Cert struct {
	DER []byte
	Key *ecdsa.PrivateKey
}

// New creates a certificate.
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

// PEM returns the certificate in the form of PLUGIN_CLIENT_CERT.
func (c *Cert) PEM() []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}) }

// TLS returns the certificate with its own key.
func (c *Cert) TLS() tls.Certificate { return c.WithKeyOf(c) }

// WithKeyOf returns the certificate with the key of another: crypto/tls signs with it without
// comparing.
func (c *Cert) WithKeyOf(other *Cert) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.DER}, PrivateKey: other.Key}
}

// Fingerprint returns the SHA-256 of a certificate, in hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
