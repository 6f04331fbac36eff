package plugins

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"os"
)

// TLSFiles is a TLS configuration by the user, instead of one-time certificates.
type TLSFiles struct{ Cert, Key, CA string }

// Flags adds --tls-cert, --tls-key and --tls-ca.
func (f *TLSFiles) Flags(flags *flag.FlagSet) {
	flags.StringVar(&f.Cert, "tls-cert", "", "own certificate chain, PEM")
	flags.StringVar(&f.Key, "tls-key", "", "own key, PEM")
	flags.StringVar(&f.CA, "tls-ca", "", "trusted roots, PEM; a plugin with roots requires a certificate from its host")
}

// Given returns whether any file was given.
func (f *TLSFiles) Given() bool { return f.Cert != "" || f.CA != "" }

// PluginConfig returns the configuration for ServeConfig.TLSProvider.
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

// HostConfig returns the configuration for ClientConfig.TLSConfig. The plugin's certificate must be
// valid for serverName.
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
		return nil, nil, errors.New(f.CA + " contains no certificate")
	}
	return config, roots, nil
}
