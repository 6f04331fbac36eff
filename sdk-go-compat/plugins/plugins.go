// Package plugins connects the contracts to go-plugin: handshakes, and what a host gets when it
// dispenses.
package plugins

import (
	"context"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// GreeterHandshake is shared by the greeter's host and plugin.
var GreeterHandshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "GREETER_PLUGIN",
	MagicCookieValue: "hello",
}

// KVHandshake is the handshake of go-plugin's examples/grpc.
var KVHandshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "BASIC_PLUGIN",
	MagicCookieValue: "hello",
}

// ProbeHandshake has no version: probe plugins list theirs.
var ProbeHandshake = goplugin.HandshakeConfig{
	MagicCookieKey:   "PLUGWIRE_PROBE",
	MagicCookieValue: "plugwire",
}

// Dispensed is what a host gets: the connection, for the contract's client, and the broker.
type Dispensed struct {
	Conn   *grpc.ClientConn
	Broker *goplugin.GRPCBroker
}

// Served is a plugin of one or more services. A host leaves Register nil.
type Served struct {
	goplugin.NetRPCUnsupportedPlugin
	Register func(*goplugin.GRPCBroker, *grpc.Server)
}

// GRPCServer implements goplugin.GRPCPlugin.
func (s *Served) GRPCServer(broker *goplugin.GRPCBroker, server *grpc.Server) error {
	s.Register(broker, server)
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (*Served) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Dispensed{Conn: conn, Broker: broker}, nil
}

// Greeter answers every greeting.
type Greeter struct{}

// Greet implements contracts.Greeter.
func (Greeter) Greet(_ context.Context, in *contracts.GreetRequest) (*contracts.GreetResponse, error) {
	return &contracts.GreetResponse{Message: "Hello, " + in.Name + "!"}, nil
}
