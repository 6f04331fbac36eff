//go:build !goplugin_before_1_6

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// nothing is the control: a plugin that behaves.
func nothing(p *plugin) { p.serve() }

// exitsBeforeLine complains on stderr and exits, with the code of its argument or 1. No line.
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

// leave exits as a plugin that never served: without its socket.
func (p *plugin) leave(code int) {
	_ = p.listening.Close()
	os.Exit(code)
}

// halfLine prints the line's beginning, without an end, and exits with 0.
func halfLine(p *plugin) {
	half := strings.Join(p.fields[:2], "|") + "|un"
	p.tell("exiting", "code", 0, "printed", half)
	p.print(half)
	p.leave(0)
}

// noLine prints nothing and lives on.
func noLine(p *plugin) {
	p.tell("silent")
	p.hang()
}

// hang lives on without accepting anybody. A well-behaved plugin's socket is there.
func (p *plugin) hang() { select {} }

// endlessLine prints one line for ever.
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

// binaryNoise prints 4 KiB of every byte but a newline, and then one.
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

// noiseThenLine prints three lines before a good one, and serves.
func noiseThenLine(p *plugin) {
	noise := "Loading configuration\nwarning: a|b|c|d is deprecated\n\n"
	p.tell("noise", "printed", noise)
	p.print(noise)
	p.serve()
}

// threeFields prints the first three fields and lives on.
func threeFields(p *plugin) {
	p.fields = p.fields[:3]
	p.line()
	p.hang()
}

// fourFields prints four fields, which means net/rpc; a gRPC server stands behind.
func fourFields(p *plugin) {
	p.fields = p.fields[:4]
	p.serve()
}

// field prints the line with one field replaced (or added); a good server stands behind.
func field(index int, value string) func(*plugin) {
	return func(p *plugin) {
		for len(p.fields) <= index {
			p.fields = append(p.fields, "")
		}
		p.fields[index] = value
		p.serve()
	}
}

// longSocketPath names a path of 300 characters, which no socket address can hold.
func longSocketPath(p *plugin) {
	p.fields[3] = filepath.Join(os.TempDir(), strings.Repeat("long", 75))
	p.serve()
}

// missingSocket names a path where nothing is.
func missingSocket(p *plugin) {
	p.fields[3] = p.freePath()
	p.serve()
}
