//go:build !goplugin_before_1_3

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

// flaw makes one mistake that a program can make with go-plugin, in a session that otherwise
// follows the task.
type flaw func(*session)

// flaws are mistakes that the suite must find.
var flaws = map[string]flaw{
	"other-version": func(s *session) {
		s.config.VersionedPlugins = map[int]goplugin.PluginSet{99: {pluginName: &plugins.Served{}}}
	},
	"other-cookie":  func(s *session) { s.config.MagicCookieKey += "_OTHER" },
	"no-mutual-tls": func(s *session) { s.config.AutoMTLS = false },
	"never-kills":   func(s *session) { s.neverKills = true },
}

// flawOf returns the flaw of this name, or none without a name.
func flawOf(name string) (flaw, error) {
	if name == "" {
		return func(*session) {}, nil
	}
	if chosen, ok := flaws[name]; ok {
		return chosen, nil
	}
	names := slices.Sorted(maps.Keys(flaws))
	return nil, fmt.Errorf("--flaw must be one of %s", strings.Join(names, " "))
}
