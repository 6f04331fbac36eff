//go:build !goplugin_before_1_6

// tls-probe tries a plugin's mutual TLS as hosts that must be rejected, and finally as the one that
// must be accepted. It starts the plugin itself (tls-probe -- COMMAND ARGS), or takes an address
// and the PEM files.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

// report is the JSON object on standard output.
type report struct {
	Line  string   `json:"line,omitempty"`
	Ways  []result `json:"ways"`
	Error string   `json:"error,omitempty"`
	// How the plugin ended, if it was started here.
	Exit string `json:"exit,omitempty"`
}

func main() {
	cookie := flag.String("cookie", "GREETER_PLUGIN=hello", "KEY=VALUE of the plugin's cookie")
	versions := flag.String("versions", "1", "app protocol versions offered")
	address := flag.String("address", "", "unix:PATH or tcp:HOST:PORT of a plugin that is already running")
	serverCert := flag.String("server-cert", "", "with --address: the plugin's certificate, PEM; without it the correct way is not tried")
	cert := flag.String("cert", "", "with --address: the host's certificate, PEM")
	key := flag.String("key", "", "with --address: the host's key, PEM; without it the correct way is not tried")
	timeout := flag.Duration("timeout", 3*time.Second, "how long each way may take")
	flag.Parse()

	seen := &report{Ways: []result{}}
	var err error
	if *address != "" {
		err = seen.tryAddress(*address, *serverCert, *cert, *key, *timeout)
	} else {
		err = seen.tryCommand(flag.Args(), *cookie, *versions, *timeout)
	}
	if err != nil {
		seen.Error = err.Error()
	}
	if encoding := json.NewEncoder(os.Stdout).Encode(seen); encoding != nil {
		fmt.Fprintln(os.Stderr, "tls-probe:", encoding)
	}
	if err != nil {
		os.Exit(1)
	}
}
