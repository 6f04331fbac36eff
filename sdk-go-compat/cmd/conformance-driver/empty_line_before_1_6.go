//go:build goplugin_before_1_6 && !goplugin_before_1_3

package main

// emptyLineKind is the kind for an empty line, which this go-plugin also reads if the output ends
// without a line.
const emptyLineKind = "start.other"
