//go:build !goplugin_before_1_3

package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
	"github.com/plugwire/plugwire/sdk-go-compat/record"
)

// session is one run of one plugin, and what was recorded of it.
type session struct {
	*options
	config         *goplugin.ClientConfig
	client         *goplugin.Client
	log            *record.Log
	stdout, stderr *record.Buffer
	rawStderr      *record.Buffer
	started        *startReport
	killed         *killReport
}

// startReport is the result of the handshake.
type startReport struct {
	Ms       float64                 `json:"ms"`
	Error    string                  `json:"error,omitempty"`
	Network  string                  `json:"network,omitempty"`
	Address  string                  `json:"address,omitempty"`
	Version  int                     `json:"version"`
	Protocol string                  `json:"protocol,omitempty"`
	Pid      int                     `json:"pid,omitempty"`
	Record   *plugins.ReattachRecord `json:"record,omitempty"`
}

// killReport is how the plugin ended.
type killReport struct {
	Ms     float64 `json:"ms"`
	Exited bool    `json:"exited"`
	// Hung: Kill did not return on its own, and this host sent SIGKILL to the process.
	Hung bool `json:"hung"`
}

func newSession(options *options) (*session, error) {
	config, err := options.config()
	if err != nil {
		return nil, err
	}
	s := &session{
		options: options, config: config, log: record.NewLog(),
		stdout: record.NewBuffer(), stderr: record.NewBuffer(), rawStderr: record.NewBuffer(),
	}
	config.Logger = s.log.Logger("probe-host")
	config.SyncStdout, config.SyncStderr, config.Stderr = s.stdout, s.stderr, s.rawStderr
	return s, nil
}

// start starts the plugin; an error from go-plugin is also in the report.
func (s *session) start() error {
	if len(s.command) == 0 && s.config.Reattach == nil {
		return errors.New("no command given")
	}
	s.client = goplugin.NewClient(s.config)
	began := time.Now()
	addr, err := s.client.Start()
	s.started = &startReport{Ms: ms(began)}
	if err != nil {
		s.started.Error = err.Error()
		return err
	}
	s.started.Network, s.started.Address = addr.Network(), addr.String()
	s.started.Version, s.started.Protocol = s.client.NegotiatedVersion(), string(s.client.Protocol())
	if attached := s.client.ReattachConfig(); attached != nil {
		record := plugins.RecordOf(attached)
		s.started.Pid, s.started.Record = record.Pid, &record
	}
	return nil
}

// dispense starts the plugin if necessary, and connects.
func (s *session) dispense() (*plugins.Dispensed, error) {
	if s.client == nil {
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	return plugins.Dispense(s.client, "probe")
}

// probe is dispense for scenarios that only make calls: on the main connection or, with
// --over-broker, on a brokered one.
func (s *session) probe() (contracts.ProbeClient, error) {
	dispensed, err := s.dispense()
	if err != nil {
		return contracts.ProbeClient{}, err
	}
	if s.overBroker {
		conn, err := s.brokered(dispensed)
		return contracts.ProbeClient{Conn: conn}, err
	}
	return contracts.ProbeClient{Conn: dispensed.Conn}, nil
}

// ping calls go-plugin's Ping.
func (s *session) ping() error {
	connection, err := s.client.Client()
	if err != nil {
		return err
	}
	return connection.Ping()
}

// kill ends the plugin, once. go-plugin's Kill has no time limit, so kill adds one.
func (s *session) kill() {
	if s.client == nil || s.killed != nil {
		return
	}
	began := time.Now()
	done := make(chan struct{})
	go func() {
		s.client.Kill()
		close(done)
	}()
	s.killed = &killReport{}
	select {
	case <-done:
	case <-time.After(s.killTimeout):
		s.killed.Hung = true
		if s.started.Pid > 0 {
			_ = syscall.Kill(s.started.Pid, syscall.SIGKILL)
		}
		select {
		case <-done:
		case <-time.After(s.killTimeout):
		}
	}
	s.killed.Ms, s.killed.Exited = ms(began), s.client.Exited()
}

// exited waits until go-plugin has noticed the plugin's exit, or until ctx is done.
func (s *session) exited(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.client.Exited() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func ms(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
