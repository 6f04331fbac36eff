//go:build !goplugin_before_1_6

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// nothing is the control: a plugin that behaves correctly.
func nothing(p *plugin) { p.serve() }

// exitsBeforeLine prints an error on stderr and exits with the code in its argument, or 1, without
// a line.
func exitsBeforeLine(p *plugin) {
	code := 1
	if p.argument != "" {
		number, err := strconv.Atoi(p.argument)
		p.check(err)
		code = number
	}
	p.tell("exiting", "code", code)
	_, err := os.Stderr.WriteString("cannot read the configuration: permission denied\n")
	p.check(err)
	p.leave(code)
}

// leave exits like a plugin that never served: without its socket.
func (p *plugin) leave(code int) {
	_ = p.listening.Close()
	os.Exit(code)
}

// halfLine prints the beginning of the line without a line end, and exits with 0.
func halfLine(p *plugin) {
	half := strings.Join(p.fields[:2], "|") + "|un"
	p.tell("exiting", "code", 0, "printed", half)
	p.print(half)
	p.leave(0)
}

// noLine prints nothing and keeps running.
func noLine(p *plugin) {
	p.tell("silent")
	p.hang()
}

// hang keeps running without accepting connections. The socket exists, as for a correct plugin.
func (p *plugin) hang() { select {} }

// endlessLine prints one line without end.
func endlessLine(p *plugin) {
	chunk := []byte(strings.Repeat("x", 64<<10))
	written, told := 0, 64<<10
	p.tell("endless", "chunk", len(chunk))
	for {
		n, err := os.Stdout.Write(chunk)
		written += n
		if err != nil {
			p.tell("stopped", "bytes", written)
			p.leave(0)
		}
		if written >= told {
			p.tell("written", "bytes", written)
			told *= 4
		}
	}
}

// binaryNoise prints 4 KiB of every byte value except a newline, and then a newline.
func binaryNoise(p *plugin) {
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i * 7)
		if noise[i] == '\n' {
			noise[i] = 0xff
		}
	}
	noise[len(noise)-1] = '\n'
	p.tell("written", "bytes", len(noise))
	p.print(string(noise))
	p.hang()
}

// noiseThenLine prints three lines before a valid one, and serves.
func noiseThenLine(p *plugin) {
	noise := "Loading configuration\nwarning: a|b|c|d is deprecated\n\n"
	p.tell("noise", "printed", noise)
	p.print(noise)
	p.serve()
}

// threeFields prints the first three fields and keeps running.
func threeFields(p *plugin) {
	p.fields = p.fields[:3]
	p.line()
	p.hang()
}

// fourFields prints four fields, which means net/rpc, and serves gRPC.
func fourFields(p *plugin) {
	p.fields = p.fields[:4]
	p.serve()
}

// field prints the line with one field replaced or added, and serves correctly.
func field(index int, value string) func(*plugin) {
	return func(p *plugin) {
		for len(p.fields) <= index {
			p.fields = append(p.fields, "")
		}
		p.fields[index] = value
		p.serve()
	}
}

// longSocketPath announces a path of 300 characters, which does not fit into a socket address.
func longSocketPath(p *plugin) {
	p.fields[3] = filepath.Join(os.TempDir(), strings.Repeat("long", 75))
	p.serve()
}

// missingSocket announces a path that does not exist.
func missingSocket(p *plugin) {
	p.fields[3] = p.freePath()
	p.serve()
}
