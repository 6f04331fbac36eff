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

// flaw makes one mistake that a program can make with go-plugin, in a session that is otherwise as the task says.
type flaw func(*session)

// flaws are there for the suite to find.
var flaws = map[string]flaw{
	"other-version": func(s *session) {
		s.config.VersionedPlugins = map[int]goplugin.PluginSet{99: {pluginName: &plugins.Served{}}}
	},
	"other-cookie":  func(s *session) { s.config.MagicCookieKey += "_OTHER" },
	"no-mutual-tls": func(s *session) { s.config.AutoMTLS = false },
	"never-kills":   func(s *session) { s.neverKills = true },
}

// flawOf has the flaw of this name, and without a name none.
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
