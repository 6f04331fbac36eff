//go:build !goplugin_before_1_6

package main

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// dieDuringCall exits in the first greeting, with the text of a panic and exit code 3.
func dieDuringCall(p *plugin) {
	p.greet = func() {
		p.tell("dying", "code", 3)
		_, err := os.Stderr.WriteString("panic: the greeter fell over\n\ngoroutine 7 [running]:\nmain.greet(...)\n\t/src/greeter.go:12\n")
		p.check(err)
		p.leave(3)
	}
	p.serve()
}

// healthNotServing reports NOT_SERVING, and serves.
func healthNotServing(p *plugin) {
	p.health = contracts.HealthNotServing
	p.serve()
}

// noStdioService does not serve plugin.GRPCStdio, like plugins before go-plugin 1.1.0.
func noStdioService(p *plugin) {
	p.noStdio = true
	p.tell("no-stdio")
	p.serve()
}

// shutdownHangs never answers Shutdown. SIGTERM ends it.
func shutdownHangs(p *plugin) {
	p.hangInShutdown()
	p.serve()
}

func (p *plugin) hangInShutdown() {
	p.shutdown = func() {
		p.tell("shutdown-hangs")
		select {}
	}
}

// ignoresSIGTERM records each SIGTERM and keeps running. Shutdown ends it.
func ignoresSIGTERM(p *plugin) {
	p.tellSIGTERM()
	p.serve()
}

func (p *plugin) tellSIGTERM() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		for range signals {
			p.tell("ignored-sigterm")
		}
	}()
}

// deaf neither answers Shutdown nor exits on SIGTERM.
func deaf(p *plugin) {
	p.hangInShutdown()
	p.tellSIGTERM()
	p.serve()
}

// grandchildHoldsPipes starts a child that inherits the plugin's stdout and stderr and outlives it.
// The witness file has its pid.
func grandchildHoldsPipes(p *plugin) {
	child := exec.Command(os.Args[0], "--child", "--life", "60s")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	p.check(child.Start())
	p.tell("grandchild", "child", child.Process.Pid)
	p.serve()
}
