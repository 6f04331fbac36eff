package plugins

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"os"
)

// TLSFiles is a TLS configuration of the user's own, in place of one-time certificates.
type TLSFiles struct{ Cert, Key, CA string }

// Flags adds --tls-cert, --tls-key and --tls-ca.
func (f *TLSFiles) Flags(flags *flag.FlagSet) {
	flags.StringVar(&f.Cert, "tls-cert", "", "own certificate chain, PEM")
	flags.StringVar(&f.Key, "tls-key", "", "own key, PEM")
	flags.StringVar(&f.CA, "tls-ca", "", "trusted roots, PEM; a plugin given one asks its host for a certificate")
}

// Given says if any was chosen.
func (f *TLSFiles) Given() bool { return f.Cert != "" || f.CA != "" }

// PluginConfig is for ServeConfig.TLSProvider.
func (f *TLSFiles) PluginConfig() (*tls.Config, error) {
	config, roots, err := f.load()
	if err != nil {
		return nil, err
	}
	if roots != nil {
		config.ClientCAs, config.RootCAs = roots, roots
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// HostConfig is for ClientConfig.TLSConfig. serverName is what the plugin's certificate must be valid for.
func (f *TLSFiles) HostConfig(serverName string) (*tls.Config, error) {
	config, roots, err := f.load()
	if err != nil {
		return nil, err
	}
	config.ServerName = serverName
	config.RootCAs, config.ClientCAs = roots, roots
	return config, nil
}

func (f *TLSFiles) load() (*tls.Config, *x509.CertPool, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.CA == "" {
		return config, nil, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, errors.New(f.CA + " holds no certificate")
	}
	return config, roots, nil
}
