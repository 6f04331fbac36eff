// kv-plugin is the KV store of go-plugin's examples/grpc: each value is a file kv_KEY in the working directory.
package main

import (
	"context"
	"os"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

type store struct{}

func (store) Get(_ context.Context, in *contracts.KVGetRequest) (*contracts.KVGetResponse, error) {
	value, err := os.ReadFile("kv_" + in.Key)
	if err != nil {
		return nil, err
	}
	return &contracts.KVGetResponse{Value: value}, nil
}

func (store) Put(_ context.Context, in *contracts.KVPutRequest) (*contracts.Empty, error) {
	value := append(in.Value, "\n\nWritten from kv-plugin"...)
	return &contracts.Empty{}, os.WriteFile("kv_"+in.Key, value, 0o644)
}

func main() {
	kv := &plugins.Served{Register: func(_ *goplugin.GRPCBroker, server *grpc.Server) {
		contracts.RegisterKV(server, store{})
	}}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugins.KVHandshake,
		Plugins:         goplugin.PluginSet{"kv_grpc": kv},
		GRPCServer:      goplugin.DefaultGRPCServer,
	})
}
