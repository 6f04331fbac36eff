//go:build !goplugin_before_1_3

// kv-host stores and reads values: KV_PLUGIN=COMMAND kv-host put KEY VALUE, kv-host get KEY.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	config, err := plugins.HostConfig(plugins.KVHandshake, plugins.HostOptions{}, []string{"sh", "-c", os.Getenv("KV_PLUGIN")})
	if err != nil {
		return err
	}
	config.Plugins = goplugin.PluginSet{"kv_grpc": &plugins.Served{}}
	client := goplugin.NewClient(config)
	defer client.Kill()
	dispensed, err := plugins.Dispense(client, "kv_grpc")
	if err != nil {
		return err
	}
	kv := contracts.KVClient{Conn: dispensed.Conn}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	switch {
	case len(args) == 2 && args[0] == "get":
		reply, err := kv.Get(ctx, &contracts.KVGetRequest{Key: args[1]})
		if err != nil {
			return err
		}
		fmt.Println(string(reply.Value))
		return nil
	case len(args) == 3 && args[0] == "put":
		_, err := kv.Put(ctx, &contracts.KVPutRequest{Key: args[1], Value: []byte(args[2])})
		return err
	}
	return errors.New("usage: kv-host put KEY VALUE | get KEY")
}
