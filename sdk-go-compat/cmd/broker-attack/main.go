//go:build !goplugin_before_1_6

// broker-attack is a host without go-plugin that starts a probe plugin, does one thing wrong at its
// broker, and prints the result as JSON. In the end a working brokered connection in each direction
// shows that the plugin still serves.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// attack is one way to misbehave.
type attack struct {
	multiplexed bool
	run         func(*host) error
	// fatal: the session does not survive the attack.
	fatal bool
}

// attacks lists all attacks; each is described at its function.
var attacks = map[string]attack{
	"nothing":       {run: nothing},
	"unannounced":   {run: unannounced},
	"bad-addresses": {run: badAddresses},
	"announce-many": {run: announceMany},
	"half-open":     {run: halfOpen},
	"closes":        {run: closes},
	"connect-many":  {run: connectMany},

	"mux-nothing":       {multiplexed: true, run: nothing},
	"mux-unanswered":    {multiplexed: true, run: unannounced},
	"mux-ack-error":     {multiplexed: true, run: ackError},
	"mux-ack-late":      {multiplexed: true, run: ackLate},
	"mux-ack-flood":     {multiplexed: true, run: ackFlood},
	"mux-knock-nobody":  {multiplexed: true, run: knockNobody},
	"mux-knock-flood":   {multiplexed: true, run: knockFlood},
	"mux-streams":       {multiplexed: true, run: streams},
	"mux-knock-streams": {multiplexed: true, run: knockStreams},
	"mux-bad-version":   {multiplexed: true, fatal: true, run: frame(9, 0, 0)},
	"mux-bad-type":      {multiplexed: true, fatal: true, run: frame(0, 77, 0)},
	"mux-huge-frame":    {multiplexed: true, fatal: true, run: frame(0, 0, 1<<31)},
	"mux-ends":          {multiplexed: true, fatal: true, run: ends},
}

// report is the JSON object on standard output.
type report struct {
	How string `json:"how"`
	// Ended: the attack was really made, and the plugin still served afterwards (or had exited,
	// where it must).
	Ended bool   `json:"ended"`
	Error string `json:"error,omitempty"`
	// Saw holds the plugin's errors from its dials, and other observations.
	Saw map[string]any `json:"saw"`
	// Resident memory of the plugin in KiB.
	Before int `json:"rss_before"`
	After  int `json:"rss_after"`
	// Exit is how the plugin ended.
	Exit string `json:"exit,omitempty"`
}

func main() {
	how := flag.String("how", "", "what to do wrong: a name of --list")
	cookie := flag.String("cookie", "PLUGWIRE_PROBE=plugwire", "KEY=VALUE of the plugin's cookie")
	count := flag.Int("count", 10000, "how often, for attacks that repeat something")
	size := flag.Int("size", 100, "bytes of each address of announce-many")
	list := flag.Bool("list", false, "print all names")
	flag.Parse()
	if *list {
		for _, name := range names() {
			fmt.Println(name)
		}
		return
	}
	chosen, ok := attacks[*how]
	if !ok || flag.NArg() == 0 {
		fmt.Fprintf(os.Stderr, "usage: broker-attack --how NAME -- COMMAND ARGS; NAME is one of %s\n", strings.Join(names(), " "))
		os.Exit(2)
	}
	seen := &report{How: *how, Saw: map[string]any{}}
	h := &host{report: seen, count: *count, size: *size}
	err := h.play(chosen, *cookie, flag.Args())
	seen.Ended = err == nil
	if err != nil {
		seen.Error = err.Error()
	}
	if encoding := json.NewEncoder(os.Stdout).Encode(seen); encoding != nil {
		fmt.Fprintln(os.Stderr, "broker-attack:", encoding)
	}
	if err != nil {
		os.Exit(1)
	}
}

func names() []string {
	var all []string
	for name := range attacks {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// patience is the limit for expected events.
const patience = 120 * time.Second
