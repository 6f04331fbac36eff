package interop

import (
	"slices"
	"testing"
)

// brokenBroker: before 1.4.4 a plugin with mutual TLS cannot dial; it can accept.
func brokenBroker(p pair) bool { return p.plugin == "1.0.1" && p.mtls }

func checkBrokerAccept(p pair, s seen) {
	s.want("result.dial_error", nil)
	s.want("result.echo.payload_intact", true)
	s.want("result.echo.headers_intact", true)
	s.want("result.echo.trailers_intact", true)
}

func checkBrokerDial(p pair, s seen) {
	s.want("result.intact", !brokenBroker(p))
	if !brokenBroker(p) {
		s.want("result.messages", 100.0)
	}
}

func checkBrokerNest(_ pair, s seen) {
	s.want("result.error", nil)
	s.want("result.depth", 4.0)
	s.want("result.intact", true)
}

func checkBrokerMany(_ pair, s seen) {
	s.want("result.host_dials_intact", 5.0)
	s.want("result.plugin_dials_intact", 5.0)
}

func checkBrokerEarlyDial(_ pair, s seen) {
	s.want("result.host_dials.echo.payload_intact", true)
	s.want("result.plugin_dials.intact", true)
}

// TestBrokerNobody: a dial of an id that is never accepted takes five seconds: in Dial or, with
// multiplexing, in the first call. Other dials still work.
func TestBrokerNobody(t *testing.T) {
	onlyIfChanged(t)
	for _, pair := range pairs() {
		if pair.host != pair.plugin || pair.mtls || !slices.Contains([]string{"1.4.8", "1.8.0"}, pair.host) {
			continue
		}
		t.Run(pair.String(), func(t *testing.T) {
			t.Parallel()
			box := newSandbox(t)
			args := append([]string{"broker-nobody"}, pair.flags()...)
			s := box.probe(pair.host, append(args, "--", bin(pair.plugin, "probe-plugin"))...)
			if pair.mux {
				s.contains("result.nobody.host_dials.echo.error.message", "timeout waiting for multiplexing knock handshake on id 4242")
				s.contains("result.nobody.plugin_dials.message", "timeout waiting for multiplexing knock handshake on id 4242")
			} else {
				s.want("result.nobody.host_dials.dial_error", "timeout waiting for connection info")
				s.want("result.nobody.plugin_dials.dial_error", "timeout waiting for connection info")
			}
			s.want("result.after.host_dials.echo.payload_intact", true)
			s.want("result.after.plugin_dials.intact", true)
			box.noProcesses()
		})
	}
}

// TestBrokerRaw: a raw listener serves without the session's TLS. It works in plaintext; a host
// with mutual TLS rejects it.
func TestBrokerRaw(t *testing.T) {
	onlyIfChanged(t)
	for _, pair := range pairs() {
		if pair.host != "1.8.0" || pair.plugin != "1.8.0" {
			continue
		}
		box := newSandbox(t)
		for _, scenario := range []string{"broker-accept", "broker-dial"} {
			args := append([]string{scenario, "--raw"}, pair.flags()...)
			s := box.probe(pair.host, append(args, "--", bin(pair.plugin, "probe-plugin"))...)
			if scenario == "broker-dial" {
				s.want("result.intact", !pair.mtls)
			} else {
				s.want("result.echo.payload_intact", !pair.mtls)
			}
		}
		box.noProcesses()
	}
}
