package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pair is a host and a plugin, and the way they connect.
type pair struct {
	host, plugin string
	mtls, mux    bool
}

func (p pair) String() string {
	name := p.host + "_" + p.plugin
	if p.mtls {
		name += "_mtls"
	}
	if p.mux {
		name += "_mux"
	}
	return name
}

func (p pair) flags() []string {
	var flags []string
	if p.mtls {
		flags = append(flags, "--auto-mtls")
	}
	if p.mux {
		flags = append(flags, "--mux")
	}
	return flags
}

// pairs returns all hosts with all plugins in every way that both support, or, without a change of
// the sources, only the newest release with itself.
func pairs() []pair {
	all := allPairsOfReleases()
	if !everything() {
		all = slices.DeleteFunc(all, func(p pair) bool { return p.host != newest || p.plugin != newest })
	}
	return all
}

func allPairsOfReleases() []pair {
	var all []pair
	for _, host := range versions() {
		if !slices.Contains(releases[host].Programs, "probe-host") {
			continue
		}
		for _, plugin := range versions() {
			for _, mtls := range []bool{false, true} {
				all = append(all, pair{host, plugin, mtls, false})
				if releases[host].Multiplexes && releases[plugin].Multiplexes {
					all = append(all, pair{host, plugin, mtls, true})
				}
			}
		}
	}
	return all
}

// reach tells for which pairs a play is run; limiting it saves time.
type reach int

const (
	// between all releases in plaintext, and in every way within some releases
	allPairs reach = iota
	// in every way between all releases
	everywhere
	// in every way within a release
	sameRelease
)

func (r reach) includes(p pair) bool {
	return r == everywhere || p.host == p.plugin || r == allPairs && !p.mtls && !p.mux
}

// play is one scenario of the matrix.
type play struct {
	scenario string
	flags    []string
	plugin   []string
	// sockets is the number of sockets that a plugin leaves behind in this scenario without
	// multiplexing, or uncounted.
	sockets int
	// lives is how many plugins are started; with multiplexing each leaves its socket.
	lives int
	reach reach
	check func(pair, seen)
}

// uncounted: a Go plugin that exits while it serves brokered ids removes only some of their
// sockets.
const uncounted = -1

var plays = []play{
	{reach: everywhere, scenario: "start", lives: 1, check: checkStart},
	{reach: everywhere, scenario: "echo", lives: 1, check: checkEcho},
	{scenario: "fail", lives: 1, check: checkFail},
	{scenario: "stream", lives: 1, check: checkStream},
	{scenario: "cancel", lives: 1, check: checkCancel},
	{scenario: "deadline", lives: 1, check: checkDeadline},
	{reach: everywhere, scenario: "stdio", flags: []string{"--patience", "300ms"}, lives: 1, check: checkStdio},
	{scenario: "logs", plugin: []string{"--logs"}, lives: 1, check: checkLogs},
	{scenario: "inspect", plugin: []string{"--unlimited"}, lives: 1, check: checkInspect},
	{scenario: "large", flags: []string{"--size", "8388608"}, plugin: []string{"--unlimited"}, lives: 1, check: checkLarge},
	{scenario: "large", flags: []string{"--size", "4194304"}, lives: 1, check: checkTooLarge},
	{reach: everywhere, scenario: "die", flags: []string{"--how", "exit:3"}, sockets: 1, lives: 1, check: checkDie},
	{scenario: "health", lives: 1, check: checkHealth},
	{scenario: "reflection", lives: 1, check: checkReflection},
	{scenario: "rounds", flags: []string{"--count", "3"}, lives: 3, check: checkRounds},
	{scenario: "checksum", lives: 1, check: checkChecksum},
	{scenario: "checksum", flags: []string{"--checksum", strings.Repeat("00", 32)}, check: checkWrongChecksum},
	{scenario: "start", flags: []string{"--versions", "1,3"}, plugin: []string{"--versions", "2,3"}, lives: 1, check: checkNegotiated},
	{scenario: "start", flags: []string{"--versions", "1"}, plugin: []string{"--versions", "2,3"}, sockets: 1, lives: 1, check: checkNoVersion},

	{reach: everywhere, scenario: "broker-accept", sockets: uncounted, lives: 1, check: checkBrokerAccept},
	{reach: everywhere, scenario: "broker-dial", sockets: uncounted, lives: 1, check: checkBrokerDial},
	{reach: sameRelease, scenario: "broker-nest", sockets: uncounted, lives: 1, check: checkBrokerNest},
	{reach: sameRelease, scenario: "broker-many", sockets: uncounted, flags: []string{"--count", "5"}, lives: 1, check: checkBrokerMany},
	{reach: sameRelease, scenario: "broker-early-dial", sockets: uncounted, flags: []string{"--delay", "100ms"}, lives: 1, check: checkBrokerEarlyDial},
	{reach: sameRelease, scenario: "stream", flags: []string{"--over-broker"}, sockets: uncounted, lives: 1, check: checkStream},
	{reach: sameRelease, scenario: "cancel", flags: []string{"--over-broker"}, sockets: uncounted, lives: 1, check: checkCancel},
}

// TestMatrix runs every scenario with the pairs it applies to.
func TestMatrix(t *testing.T) {
	for _, pair := range pairs() {
		t.Run(pair.String(), func(t *testing.T) {
			t.Parallel()
			whole := newSandbox(t)
			for n, play := range plays {
				if !play.reach.includes(pair) {
					continue
				}
				t.Run(fmt.Sprintf("%s_%d", play.scenario, n), func(t *testing.T) { play.run(t, whole.mark, pair) })
			}
			whole.noProcesses()
		})
	}
}

// run plays it in its own directory. The mark belongs to the pair, because looking for processes
// after each play takes long.
func (p play) run(t *testing.T, mark string, pair pair) {
	box := newSandbox(t)
	box.mark = mark
	flags := p.flags
	if p.scenario == "stdio" && pair.plugin != "1.0.1" {
		flags = nil // a short patience is only for events that never happen
	}
	args := append(append([]string{p.scenario}, pair.flags()...), flags...)
	args = append(append(args, "--", bin(pair.plugin, "probe-plugin")), p.plugin...)
	s := box.probe(pair.host, args...)
	p.check(pair, s)
	expected := p.sockets
	if pair.mux {
		expected = p.lives
	}
	most := expected
	if took, _ := s.at("kill.ms").(float64); took >= 2000 {
		most += p.lives // go-plugin kills after two seconds; on a busy machine that can be before the plugin has cleaned up
	}
	if left := box.sockets(); expected != uncounted && (len(left) < expected || len(left) > most) {
		t.Errorf("sockets left: %v, expected %d", left, expected)
	}
}
