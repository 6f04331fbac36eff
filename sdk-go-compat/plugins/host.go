//go:build !goplugin_before_1_3

package plugins

import (
	"fmt"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

// HostOptions are the settings that all hosts offer.
type HostOptions struct {
	AutoMTLS bool
	Mux      bool
}

// HostConfig returns the configuration that all hosts here share: gRPC only, and a discarded log.
func HostConfig(handshake goplugin.HandshakeConfig, options HostOptions, command []string) (*goplugin.ClientConfig, error) {
	config := &goplugin.ClientConfig{
		HandshakeConfig:  handshake,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         options.AutoMTLS,
		Logger:           hclog.NewNullLogger(),
	}
	if len(command) > 0 {
		config.Cmd = exec.Command(command[0], command[1:]...)
	}
	if options.Mux {
		if err := Multiplex(config); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// Dispense connects and returns the plugin called name.
func Dispense(client *goplugin.Client, name string) (*Dispensed, error) {
	connection, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := connection.Dispense(name)
	if err != nil {
		return nil, err
	}
	dispensed, ok := raw.(*Dispensed)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T", raw)
	}
	return dispensed, nil
}
