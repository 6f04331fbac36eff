//go:build keep

// Package keep names what go-plugin's own examples need, so that `go mod tidy` keeps it in every modfile.
package keep

import (
	_ "github.com/hashicorp/go-plugin/examples/bidirectional/shared"
	_ "github.com/hashicorp/go-plugin/examples/grpc/shared"
)
