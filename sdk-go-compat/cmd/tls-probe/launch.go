//go:build !goplugin_before_1_6

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// tryCommand starts the plugin as a host with mutual TLS does, and tries every way.
func (r *report) tryCommand(command []string, cookie, versions string, timeout time.Duration) error {
	if len(command) == 0 {
		return errors.New("usage: tls-probe [--cookie KEY=VALUE] -- COMMAND ARGS, or tls-probe --address ADDRESS")
	}
	own, err := certs.New()
	if err != nil {
		return err
	}
	plugin := exec.Command(command[0], command[1:]...)
	plugin.Env = append(os.Environ(), cookie, "PLUGIN_PROTOCOL_VERSIONS="+versions,
		"PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000", "PLUGIN_CLIENT_CERT="+string(own.PEM()))
	plugin.Stderr = os.Stderr
	stdout, err := plugin.StdoutPipe()
	if err != nil {
		return err
	}
	if err := plugin.Start(); err != nil {
		return err
	}
	limit := time.AfterFunc(10*timeout, func() { _ = plugin.Process.Kill() })
	defer limit.Stop()

	r.Line, err = bufio.NewReader(stdout).ReadString('\n')
	r.Line = strings.TrimSpace(r.Line)
	var t *target
	if err == nil {
		t, err = fromLine(r.Line)
	}
	if err == nil {
		pair := own.TLS()
		t.own, t.timeout = &pair, timeout
		err = r.tryAll(t)
	}
	r.end(plugin, t)
	return err
}

// fromLine reads the address and the certificate of a handshake line.
func fromLine(line string) (*target, error) {
	fields := strings.Split(line, "|")
	if len(fields) < 6 {
		return nil, fmt.Errorf("the handshake line has %d fields: %q", len(fields), line)
	}
	der, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err != nil {
		return nil, fmt.Errorf("certificate field: %w", err)
	}
	server, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate field: %w", err)
	}
	return &target{network: fields[2], address: fields[3], server: server}, nil
}

// tryAll tries the wrong ways and, if everything for it is given, the correct one.
func (r *report) tryAll(t *target) error {
	ways, err := t.badWays()
	if err != nil {
		return err
	}
	r.Ways = append(r.Ways, ways...)
	if t.server != nil && t.own != nil && t.own.PrivateKey != nil {
		r.Ways = append(r.Ways, t.rightWay())
	}
	return nil
}

// end asks the plugin to exit, and kills it after the timeout.
func (r *report) end(plugin *exec.Cmd, t *target) {
	if t != nil && t.own != nil {
		shutdown(t)
	} else {
		_ = plugin.Process.Kill()
	}
	ended := make(chan error, 1)
	go func() { ended <- plugin.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = plugin.Process.Kill()
		<-ended
	}
	r.Exit = plugin.ProcessState.String()
}

// shutdown calls the controller. The plugin may exit before it answers, so errors of the call are
// ignored.
func shutdown(t *target) {
	ctx, stop := context.WithTimeout(context.Background(), t.timeout)
	defer stop()
	roots := x509.NewCertPool()
	roots.AddCert(t.server)
	dialer := &tls.Dialer{Config: &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{*t.own},
	}}
	conn, err := dialer.DialContext(ctx, t.network, t.address)
	if err != nil {
		return
	}
	defer conn.Close()
	channel, err := overConn(conn)
	if err != nil {
		return
	}
	defer channel.Close()
	_ = contracts.Shutdown(ctx, channel)
}

// tryAddress tries a plugin that is already running, with the PEM files that are given.
func (r *report) tryAddress(address, serverCert, cert, key string, timeout time.Duration) error {
	network, where, found := strings.Cut(address, ":")
	if !found {
		return errors.New("--address must be unix:PATH or tcp:HOST:PORT")
	}
	t := &target{network: network, address: where, timeout: timeout}
	if serverCert != "" {
		der, err := readPEM(serverCert)
		if err != nil {
			return err
		}
		if t.server, err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	if cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		t.own = &pair
	} else if cert != "" {
		der, err := readPEM(cert)
		if err != nil {
			return err
		}
		t.own = &tls.Certificate{Certificate: [][]byte{der}}
	}
	return r.tryAll(t)
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s does not contain a PEM block", path)
	}
	return block.Bytes, nil
}
