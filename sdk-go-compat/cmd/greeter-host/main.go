//go:build !goplugin_before_1_3

// greeter-host starts a greeter plugin, greets once, and prints the answer.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

type outcome struct {
	Message      string  `json:"message"`
	Version      int     `json:"version"`
	FirstReplyMs float64 `json:"first_reply_ms"`
	StopMs       float64 `json:"stop_ms"`
}

func main() {
	autoMTLS := flag.Bool("auto-mtls", false, "mutual TLS with one-time certificates")
	mux := flag.Bool("mux", false, "multiplex the broker")
	asJSON := flag.Bool("json", false, "print a JSON object with timings")
	name := flag.String("name", "World", "the name to greet")
	startTimeout := flag.Duration("start-timeout", 10*time.Second, "how long the handshake line may take")
	flag.Parse()

	result, err := run(plugins.HostOptions{AutoMTLS: *autoMTLS, Mux: *mux}, *startTimeout, *name, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	if !*asJSON {
		fmt.Println(result.Message)
		return
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func run(options plugins.HostOptions, startTimeout time.Duration, name string, command []string) (*outcome, error) {
	if len(command) == 0 {
		return nil, fmt.Errorf("usage: greeter-host [--auto-mtls] [--mux] [--json] [--name NAME] -- COMMAND ARGS")
	}
	config, err := plugins.HostConfig(plugins.GreeterHandshake, options, command)
	if err != nil {
		return nil, err
	}
	config.Plugins = goplugin.PluginSet{"greeter": &plugins.Served{}}
	config.StartTimeout = startTimeout

	began := time.Now()
	client := goplugin.NewClient(config)
	defer client.Kill()
	greeter, err := plugins.Dispense(client, "greeter")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reply, err := contracts.GreeterClient{Conn: greeter.Conn}.Greet(ctx, &contracts.GreetRequest{Name: name})
	if err != nil {
		return nil, err
	}
	result := &outcome{Message: reply.Message, Version: client.NegotiatedVersion(), FirstReplyMs: ms(began)}
	stopping := time.Now()
	client.Kill()
	result.StopMs = ms(stopping)
	return result, nil
}

func ms(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
