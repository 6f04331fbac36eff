//go:build !goplugin_before_1_6

package main

// emptyLineKind is for a line without text. go-plugin tells it from the end of the output.
const emptyLineKind = "start.not-a-handshake"
