//go:build goplugin_before_1_3

package main

import (
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
)

func serveTest(*goplugin.ServeConfig) error {
	return errors.New("test mode needs go-plugin 1.3.0 or newer")
}
