//go:build !goplugin_before_1_3

package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

// serveTest prints {"probe": RECORD} instead of a handshake line, and serves until stdin ends.
func serveTest(config *goplugin.ServeConfig) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	records, closed := make(chan *goplugin.ReattachConfig, 1), make(chan struct{})
	config.Test = &goplugin.ServeTestConfig{Context: ctx, ReattachConfigCh: records, CloseCh: closed}
	go goplugin.Serve(config)

	select {
	case record := <-records:
		line := map[string]plugins.ReattachRecord{"probe": plugins.RecordOf(record)}
		if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
			return err
		}
	case <-closed:
		return io.ErrUnexpectedEOF
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	cancel()
	<-closed
	return nil
}
