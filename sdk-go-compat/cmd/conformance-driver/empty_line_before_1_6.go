//go:build goplugin_before_1_6 && !goplugin_before_1_3

package main

// emptyLineKind is for a line without text, which go-plugin here also reads where the output ends without a line.
const emptyLineKind = "start.other"
