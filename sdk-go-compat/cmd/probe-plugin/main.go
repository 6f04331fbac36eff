// probe-plugin serves plugwire.probe.v1 with go-plugin; the README lists its flags.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
)

func main() {
	versions := flag.String("versions", "1", "app protocol versions served, comma-separated")
	unlimited := flag.Bool("unlimited", false, "accept messages of any size; default: grpc-go's 4 MiB")
	logs := flag.Bool("logs", false, "write a log line of each level before serving")
	age := flag.Duration("connection-age", 0, "close connections of this age, and abort their running calls at twice the age; default: never")
	testMode := flag.Bool("test-mode", false, "serve as in a test: print a reattach record, exit when stdin ends")
	var files plugins.TLSFiles
	files.Flags(flag.CommandLine)
	flag.Parse()

	if *logs {
		probe.LogEachLevel(hclog.New(&hclog.LoggerOptions{
			Name: "probe", Level: hclog.Trace, Output: os.Stderr, JSONFormat: true,
		}))
	}
	config, err := serveConfig(*versions, *unlimited, *age, files)
	if err == nil && *testMode {
		err = serveTest(config)
	} else if err == nil {
		goplugin.Serve(config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe-plugin:", err)
		os.Exit(2)
	}
}

func serveConfig(versions string, unlimited bool, age time.Duration, files plugins.TLSFiles) (*goplugin.ServeConfig, error) {
	service := probe.New()
	served := &plugins.Served{Register: func(broker *goplugin.GRPCBroker, server *grpc.Server) {
		(&probe.Side{Broker: broker, Service: service}).Register(server)
	}}
	config := &goplugin.ServeConfig{
		HandshakeConfig:  plugins.ProbeHandshake,
		VersionedPlugins: map[int]goplugin.PluginSet{},
	}
	for _, text := range strings.Split(versions, ",") {
		version, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("--versions: %w", err)
		}
		config.VersionedPlugins[version] = goplugin.PluginSet{"probe": served}
	}
	config.GRPCServer = func(options []grpc.ServerOption) *grpc.Server {
		if unlimited {
			options = append(options, grpc.MaxRecvMsgSize(math.MaxInt32))
		}
		if age > 0 {
			limits := keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: age}
			options = append(options, grpc.KeepaliveParams(limits))
		}
		return goplugin.DefaultGRPCServer(options)
	}
	if files.Given() {
		config.TLSProvider = files.PluginConfig
	}
	return config, nil
}
