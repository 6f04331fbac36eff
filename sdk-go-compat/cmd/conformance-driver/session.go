//go:build !goplugin_before_1_3

package main

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
	"github.com/plugwire/plugwire/sdk-go-compat/record"
)

// session is the state of a Go host with one plugin.
type session struct {
	config         *goplugin.ClientConfig
	client         *goplugin.Client
	log            *record.Log
	stdout, stderr *record.Buffer
	// neverKills is set by a flaw.
	neverKills bool
	dispensed  atomic.Pointer[plugins.Dispensed]
}

func newSession(task *task, flaw flaw) (*session, error) {
	s := &session{log: record.NewLog(), stdout: record.NewBuffer(), stderr: record.NewBuffer()}
	config, err := configOf(&task.Plugin)
	if err != nil {
		return nil, err
	}
	config.Logger = s.log.Logger("host")
	config.SyncStdout, config.SyncStderr = s.stdout, s.stderr
	s.config = config
	flaw(s)
	s.client = goplugin.NewClient(s.config)
	return s, nil
}

// configOf translates the task for go-plugin.
func configOf(subject *subject) (*goplugin.ClientConfig, error) {
	if subject.TLS != "none" && subject.TLS != "mutual" {
		return nil, &unimplemented{op: "start", what: "tls " + subject.TLS}
	}
	handshake := goplugin.HandshakeConfig{
		MagicCookieKey: subject.Cookie.Key, MagicCookieValue: subject.Cookie.Value,
	}
	options := plugins.HostOptions{AutoMTLS: subject.TLS == "mutual", Mux: subject.Multiplex}
	config, err := plugins.HostConfig(handshake, options, subject.Command)
	if err != nil {
		return nil, &unimplemented{op: "start", what: "multiplex"}
	}
	config.StartTimeout = milliseconds(subject.StartTimeoutMs)
	config.VersionedPlugins = map[int]goplugin.PluginSet{}
	for _, version := range subject.AppVersions {
		config.VersionedPlugins[version] = goplugin.PluginSet{pluginName: &plugins.Served{}}
	}
	if config.Cmd != nil {
		for name, value := range subject.Env {
			config.Cmd.Env = append(config.Cmd.Env, name+"="+value)
		}
	}
	if len(subject.Reattach) > 0 && string(subject.Reattach) != "null" {
		config.Cmd = nil
		if config.Reattach, err = plugins.ParseReattach(string(subject.Reattach)); err != nil {
			return nil, err
		}
		// A reattached host uses only Plugins.
		config.Plugins = goplugin.PluginSet{pluginName: &plugins.Served{}}
	}
	return config, nil
}

// pluginName is not sent to the plugin.
const pluginName = "subject"

// connected returns nil before the start and after one that failed.
func (s *session) connected() *plugins.Dispensed { return s.dispensed.Load() }

// start does what a Go host does before its first call. go-plugin does not connect yet: a socket
// without a listener is an error of the first call.
func start(s *session, _ *step) (answer, error) {
	if _, err := s.client.Start(); err != nil {
		return nil, startFailure(err)
	}
	dispensed, err := plugins.Dispense(s.client, pluginName)
	if err != nil {
		return nil, startFailure(err)
	}
	s.dispensed.Store(dispensed)
	return answer{"version": s.client.NegotiatedVersion(), "protocol": s.client.Protocol()}, nil
}

func ping(s *session, _ *step) (answer, error) {
	connection, err := s.client.Client()
	if err != nil {
		return nil, err
	}
	return nil, connection.Ping()
}

func collectStdio(s *session, step *step) (answer, error) {
	ctx, stop := context.WithTimeout(context.Background(), milliseconds(step.WithinMs))
	defer stop()
	s.stdout.Await(ctx, step.Stdout)
	s.stderr.Await(ctx, step.Stderr)
	return answer{"stdout": s.stdout.Bytes(), "stderr": s.stderr.Bytes()}, nil
}

// collectLogs returns what go-plugin logs under the plugin's name: the lines of its standard error.
func collectLogs(s *session, step *step) (answer, error) {
	ctx, stop := context.WithTimeout(context.Background(), milliseconds(step.WithinMs))
	defer stop()
	s.log.Await(ctx, func(all []record.Entry) bool { return len(s.ofPlugin(all)) >= step.Count })
	entries := []answer{}
	for _, entry := range s.ofPlugin(s.log.All()) {
		fields := answer{}
		for _, arg := range entry.Args {
			fields[arg.Key] = arg.Value
		}
		entries = append(entries, answer{"level": entry.Level, "message": entry.Message, "fields": fields})
	}
	return answer{"entries": entries}, nil
}

// ofPlugin leaves out what go-plugin logs itself. The standard error of a reattached plugin is not
// visible here.
func (s *session) ofPlugin(all []record.Entry) (lines []record.Entry) {
	if s.config.Cmd == nil {
		return nil
	}
	name := "host." + filepath.Base(s.config.Cmd.Path)
	for _, entry := range all {
		if entry.Name == name {
			lines = append(lines, entry)
		}
	}
	return lines
}

// waitExit polls, because go-plugin has no notification.
func waitExit(s *session, step *step) (answer, error) {
	deadline := time.After(milliseconds(step.WithinMs))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.client.Exited() {
		select {
		case <-tick.C:
		case <-deadline:
			return answer{"exited": false}, nil
		}
	}
	return answer{"exited": true}, nil
}

// kill ends the plugin. Without a plugin, go-plugin does nothing.
func kill(s *session, _ *step) (answer, error) {
	if !s.neverKills {
		s.client.Kill()
	}
	return nil, nil
}
