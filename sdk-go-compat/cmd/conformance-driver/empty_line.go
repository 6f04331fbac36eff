//go:build !goplugin_before_1_6

package main

// emptyLineKind is the kind for an empty line. This go-plugin distinguishes it from the end of the
// output.
const emptyLineKind = "start.not-a-handshake"
