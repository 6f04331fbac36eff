//go:build !goplugin_before_1_6

package main

import (
	"net"
	"strings"
	"time"
)

// listensLate prints the line, and begins to listen after --delay.
func listensLate(p *plugin) {
	path := p.fields[3]
	p.check(p.listening.Close())
	printed := time.Now()
	p.line()
	time.Sleep(p.delay)
	listener, err := net.Listen("unix", path)
	p.check(err)
	p.listening = listener
	p.tell("listening", "after_ms", time.Since(printed).Milliseconds())
	p.accept()
}

// acceptsThenCloses accepts each connection and closes it at once.
func acceptsThenCloses(p *plugin) {
	p.line()
	p.each(func(conn net.Conn) { p.tell("closed") })
}

// garbageAfterAccept answers each connection with data that is neither HTTP/2 nor TLS.
func garbageAfterAccept(p *plugin) {
	p.line()
	garbage := []byte(strings.Repeat("\x00\xff this is no frame \x7f\x01", 200))
	p.each(func(conn net.Conn) {
		n, _ := conn.Write(garbage)
		p.tell("garbage", "bytes", n)
	})
}

// each runs do for every connection, and closes it.
func (p *plugin) each(do func(net.Conn)) {
	for {
		conn, err := p.listening.Accept()
		p.ended(err)
		do(conn)
		_ = conn.Close()
	}
}
