//go:build goplugin_before_1_6

package plugins

import (
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
)

var errBefore16 = errors.New("this go-plugin release does not have that option")

// Multiplex needs 1.6.0.
func Multiplex(*goplugin.ClientConfig) error { return errBefore16 }

// SkipHostEnv needs 1.5.0.
func SkipHostEnv(*goplugin.ClientConfig) error { return errBefore16 }

// SocketGroup needs 1.5.0.
func SocketGroup(*goplugin.ClientConfig, string) error { return errBefore16 }
