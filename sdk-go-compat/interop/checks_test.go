package interop

import (
	"fmt"
	"slices"
	"strings"
)

func checkStart(_ pair, s seen) {
	s.want("start.network", "unix")
	s.want("start.version", 1.0)
	s.want("start.protocol", "grpc")
	s.want("result.pinged", true)
	s.want("kill.exited", true)
	s.want("kill.hung", false)
}

func checkEcho(_ pair, s seen) {
	s.want("result.error", nil)
	s.want("result.payload_intact", true)
	s.want("result.headers_intact", true)
	s.want("result.trailers_intact", true)
}

func checkFail(_ pair, s seen) {
	s.want("result.name", "NotFound")
	s.want("result.message_intact", true)
	s.want("result.details_intact", true)
	s.want("result.trailer_seen", true)
}

func checkStream(_ pair, s seen) {
	for _, kind := range []string{"download", "upload", "chat"} {
		s.want("result."+kind+".error", nil)
		s.want("result."+kind+".intact", true)
		s.want("result."+kind+".messages", 1000.0)
		s.want("result."+kind+".bytes", 100000.0)
	}
}

func checkCancel(_ pair, s seen) {
	for _, kind := range []string{"unary", "stream"} {
		s.want("result."+kind+".call.name", "Canceled")
		s.want("result."+kind+".begun.started", true)
		s.want("result."+kind+".begun.cancelled", false)
		s.want("result."+kind+".after.cancelled", true)
		s.want("result."+kind+".after.reason", "canceled")
	}
	s.want("result.stream.first_message", true)
}

// The handler may end by its own deadline or by the host's reset: both are valid.
func checkDeadline(_ pair, s seen) {
	for _, kind := range []string{"unary", "stream"} {
		s.want("result."+kind+".call.name", "DeadlineExceeded")
		s.want("result."+kind+".after.cancelled", true)
		if reason := s.at("result." + kind + ".after.reason"); reason != "deadline" && reason != "canceled" {
			s.t.Errorf("reason is %v", reason)
		}
	}
}

// Plugins of 1.0.1 have no stdio service, so their output is lost.
func checkStdio(p pair, s seen) {
	s.want("result.print_error", nil)
	s.want("result.stdout.intact", p.plugin != "1.0.1")
	s.want("result.stderr.intact", p.plugin != "1.0.1")
}

func checkLogs(_ pair, s seen) {
	entries, _ := s.at("result.entries").([]any)
	for n, level := range []string{"trace", "debug", "info", "warn", "error"} {
		if n >= len(entries) {
			s.t.Fatalf("only %d entries", len(entries))
		}
		line := seen{s.t, entries[n].(map[string]any)}
		line.want("name", "probe-host.probe-plugin")
		line.want("level", level)
		line.want("message", "a line at "+level)
		args := map[string]any{}
		for _, arg := range line.at("args").([]any) {
			args[arg.(map[string]any)["key"].(string)] = arg.(map[string]any)["value"]
		}
		delete(args, "timestamp")
		want := map[string]any{"@module": "probe", "number": 42.0, "text": "as " + level, "yes": true}
		if fmt.Sprint(args) != fmt.Sprint(want) {
			s.t.Errorf("args are %v, want %v", args, want)
		}
	}
}

func checkInspect(p pair, s seen) {
	env, _ := s.at("result.env").(map[string]any)
	s.want("result.env.PLUGWIRE_PROBE", "plugwire")
	s.want("result.env.PLUGIN_PROTOCOL_VERSIONS", "1")
	s.want("result.env.PLUGIN_MIN_PORT", "10000")
	s.want("result.env.PLUGIN_MAX_PORT", "25000")
	if _, given := env["PLUGIN_CLIENT_CERT"]; given != p.mtls {
		s.t.Errorf("PLUGIN_CLIENT_CERT given: %v", given)
	}
	if _, given := env["PLUGIN_MULTIPLEX_GRPC"]; given != p.mux {
		s.t.Errorf("PLUGIN_MULTIPLEX_GRPC given: %v", given)
	}
	s.want("result.pid", s.at("start.pid"))
	s.want("result.metadata.probe-text", "one value")
	s.want("result.metadata.probe-data-bin", "AP8=")
	if left, _ := s.at("result.deadline_ms").(float64); left < 1 || left > 30_000 {
		s.t.Errorf("the deadline is %v ms away", left)
	}
}

func checkLarge(_ pair, s seen) {
	s.want("result.error", nil)
	s.want("result.payload_intact", true)
}

func checkTooLarge(_ pair, s seen) {
	s.want("result.error.name", "ResourceExhausted")
}

func checkDie(_ pair, s seen) {
	s.want("result.call.name", "Unavailable")
	s.want("result.next_call.name", "Unavailable")
	s.want("result.exited", true)
	s.want("kill.hung", false)
}

func checkHealth(p pair, s seen) {
	s.want("result.check.plugin.status", "SERVING")
	s.want("result.check..status", "SERVING") // the empty name
	s.want("result.check.nobody.error.name", "NotFound")
	// Watch is new in grpc-go 1.16, List in 1.71.
	if p.plugin == "1.0.1" {
		s.want("result.watch.plugin.error.name", "Unimplemented")
	} else {
		s.want("result.watch.plugin.status", "SERVING")
		s.want("result.watch..status", "SERVING")
		s.want("result.watch.nobody.status", "SERVICE_UNKNOWN")
	}
	if p.plugin == "1.8.0-newest" {
		s.want("result.list.plugin.status", "SERVING")
	} else {
		s.want("result.list_error.name", "Unimplemented")
	}
}

func checkReflection(p pair, s seen) {
	services := []string{
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"plugin.GRPCBroker", "plugin.GRPCController", "plugin.GRPCStdio", "plugwire.probe.v1.BrokerProbe",
		"plugwire.probe.v1.Probe",
	}
	versions := []string{"v1", "v1alpha"}
	switch p.plugin {
	case "1.0.1":
		versions = nil
	case "1.4.8":
		versions = []string{"v1alpha"}
		services = slices.Delete(services, 1, 2)
	}
	for _, version := range []string{"v1", "v1alpha"} {
		if !slices.Contains(versions, version) {
			s.want("result."+version+".error.name", "Unimplemented")
			continue
		}
		s.want("result."+version+".error", nil)
		if listed := fmt.Sprint(s.at("result." + version + ".services")); listed != "["+strings.Join(services, " ")+"]" {
			s.t.Errorf("%s lists %s", version, listed)
		}
	}
}

func checkRounds(_ pair, s seen) {
	s.want("result.rounds", 3.0)
	s.want("result.open_files_after", s.at("result.open_files_before"))
	s.want("result.goroutines_after", s.at("result.goroutines_before"))
}

func checkChecksum(_ pair, s seen) { s.want("result.started", true) }

func checkWrongChecksum(_ pair, s seen) {
	s.want("result.started", false)
	s.want("start.error", "checksums did not match")
}

func checkNegotiated(_ pair, s seen) {
	s.want("start.version", 3.0)
	s.want("result.pinged", true)
}

// The plugin falls back to its lowest version, which the host rejects.
func checkNoVersion(_ pair, s seen) {
	s.contains("start.error", "ncompatible API version with plugin. Plugin version: 2, Client versions: [1]")
}
