//go:build !goplugin_before_1_6

package plugins

import goplugin "github.com/hashicorp/go-plugin"

// Multiplex enables the broker's multiplexing.
func Multiplex(config *goplugin.ClientConfig) error {
	config.GRPCBrokerMultiplex = true
	return nil
}

// SkipHostEnv keeps the host's environment from the plugin.
func SkipHostEnv(config *goplugin.ClientConfig) error {
	config.SkipHostEnv = true
	return nil
}

// SocketGroup gives the plugin's sockets to a group.
func SocketGroup(config *goplugin.ClientConfig, group string) error {
	config.UnixSocketConfig = &goplugin.UnixSocketConfig{Group: group}
	return nil
}
