// greeter-plugin answers "Hello, NAME!".
package main

import (
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

func main() {
	greeter := &plugins.Served{Register: func(_ *goplugin.GRPCBroker, server *grpc.Server) {
		contracts.RegisterGreeter(server, plugins.Greeter{})
	}}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugins.GreeterHandshake,
		Plugins:         goplugin.PluginSet{"greeter": greeter},
		GRPCServer:      goplugin.DefaultGRPCServer,
	})
}
