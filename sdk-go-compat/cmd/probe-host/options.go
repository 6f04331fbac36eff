//go:build !goplugin_before_1_3

package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

// options are shared by all scenarios; each scenario uses those it needs.
type options struct {
	command []string

	host          plugins.HostOptions
	tls           plugins.TLSFiles
	tlsServerName string
	versions      string
	cookie        string
	env           list
	dir           string
	skipHostEnv   bool
	socketGroup   string
	startTimeout  time.Duration

	timeout     time.Duration
	killTimeout time.Duration
	patience    time.Duration
	// stderrPatience: like patience, for SyncStderr alone.
	stderrPatience time.Duration
	leave          bool
	rawStderr      bool

	kind     string
	count    uint64
	size     uint64
	code     uint
	how      string
	reattach string
	checksum string

	overBroker bool
	raw        bool
	atOnce     bool
	window     uint64
	delay      time.Duration
	depth      uint
}

// list is a flag that can be given several times.
type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

func newOptions(flags *flag.FlagSet) *options {
	o := &options{}
	flags.BoolVar(&o.host.AutoMTLS, "auto-mtls", false, "mutual TLS with one-time certificates")
	flags.BoolVar(&o.host.Mux, "mux", false, "multiplex the broker")
	o.tls.Flags(flags)
	flags.StringVar(&o.tlsServerName, "tls-server-name", "localhost", "what the plugin's certificate must be valid for, with --tls-ca")
	flags.StringVar(&o.versions, "versions", "1", "app protocol versions offered, comma-separated")
	flags.StringVar(&o.cookie, "cookie", "", "KEY=VALUE instead of the probe's cookie")
	flags.Var(&o.env, "env", "NAME=VALUE for the plugin; repeatable")
	flags.StringVar(&o.dir, "dir", "", "working directory of the plugin")
	flags.BoolVar(&o.skipHostEnv, "skip-host-env", false, "keep the host's environment from the plugin (1.5.0)")
	flags.StringVar(&o.socketGroup, "socket-group", "", "group of the plugin's sockets (1.5.0)")
	flags.DurationVar(&o.startTimeout, "start-timeout", 10*time.Second, "how long the handshake line may take")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long the scenario may take")
	flags.DurationVar(&o.killTimeout, "kill-timeout", 10*time.Second, "how long Kill may take before the process gets SIGKILL")
	flags.DurationVar(&o.patience, "patience", 5*time.Second, "how long to wait for something that may never happen: output, an exit")
	flags.DurationVar(&o.stderrPatience, "stderr-patience", 0, "stdio: how long to wait for SyncStderr, if no output is expected there; default --patience")
	flags.BoolVar(&o.leave, "leave", false, "leave the plugin running; its record is in the start report")
	flags.BoolVar(&o.rawStderr, "raw-stderr", false, "report what ClientConfig.Stderr received")
	flags.StringVar(&o.kind, "kind", "", "stream: download, upload or chat; default all three")
	flags.Uint64Var(&o.count, "count", 0, "how many messages, rounds or connections")
	flags.Uint64Var(&o.size, "size", 0, "bytes of a message, or of each output")
	flags.UintVar(&o.code, "code", 5, "fail: the status code")
	flags.StringVar(&o.how, "how", "exit:3", "die: how")
	flags.StringVar(&o.reattach, "reattach", "", "reattach: the record, JSON")
	flags.StringVar(&o.checksum, "checksum", "", "checksum: SHA-256 in hex; default that of the command")
	flags.BoolVar(&o.overBroker, "over-broker", false, "make the scenario's calls over a brokered connection to the plugin")
	flags.BoolVar(&o.raw, "raw", false, "broker: accept a listener instead of AcceptAndServe; without TLS")
	flags.BoolVar(&o.atOnce, "at-once", false, "broker-many: all at once; default one after another, as multiplexing needs with Go")
	flags.Uint64Var(&o.window, "window", 0, "broker-many --at-once: at most this many in progress; default all")
	flags.DurationVar(&o.delay, "delay", 300*time.Millisecond, "broker-early-dial: how long the id is not accepted; broker-abandon: the time within which a call is cancelled")
	flags.UintVar(&o.depth, "depth", 4, "broker-nest: how deep")
	return o
}

// or returns value, or fallback if the flag was not given.
func or(value, fallback uint64) uint64 {
	if value == 0 {
		return fallback
	}
	return value
}

// config translates the options for go-plugin.
func (o *options) config() (*goplugin.ClientConfig, error) {
	config, err := plugins.HostConfig(plugins.ProbeHandshake, o.host, o.command)
	if err != nil {
		return nil, err
	}
	config.StartTimeout = o.startTimeout
	if o.cookie != "" {
		config.MagicCookieKey, config.MagicCookieValue, _ = strings.Cut(o.cookie, "=")
	}
	config.VersionedPlugins = map[int]goplugin.PluginSet{}
	for _, word := range strings.Split(o.versions, ",") {
		version, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("--versions: %w", err)
		}
		config.VersionedPlugins[version] = goplugin.PluginSet{"probe": &plugins.Served{}}
	}
	if config.Cmd != nil {
		config.Cmd.Env, config.Cmd.Dir = o.env, o.dir
	}
	if o.skipHostEnv {
		if err := plugins.SkipHostEnv(config); err != nil {
			return nil, err
		}
	}
	if o.socketGroup != "" {
		if err := plugins.SocketGroup(config, o.socketGroup); err != nil {
			return nil, err
		}
	}
	if o.tls.Given() {
		config.TLSConfig, err = o.tls.HostConfig(o.tlsServerName)
	}
	return config, err
}
