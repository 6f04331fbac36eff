//go:build !goplugin_before_1_6

package main

import (
	"context"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/plugwire/plugwire/sdk-go-compat/brokerwire"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// last is the highest id that a multiplexed plugin here accepts. Knocks for higher ids are never
// answered.
const last = 99

// own is the id that the host must serve for misbehaviours that flood it; another is the one that
// must work afterwards.
const (
	own     = 3
	another = 4
)

// patience is the limit for expected events.
const patience = 120 * time.Second

// session is the plugin's end of a multiplexed connection.
type session struct {
	*brokerwire.Session
	plugin *plugin
	// begun is closed when the broker's stream is open.
	begun chan struct{}
	// deaf: the session never reads the broker's stream.
	deaf bool
}

// mux is correct: it accepts ids up to 99 and, like Go's plugins, never answers a knock for
// another.
func mux(p *plugin) { p.multiplexed(func(*session) {}) }

// muxAckError rejects the knock for the victim.
func muxAckError(p *plugin) {
	p.multiplexed(func(s *session) {
		s.onVictim(func() {
			p.check(s.Wire.Ack(victim, "no \x1b[31mlistener\nfor you"))
			p.tell("refused")
		})
	})
}

// muxAckLate acknowledges the knock for the victim --delay too late, and assigns a stream to it
// anyway.
func muxAckLate(p *plugin) {
	p.multiplexed(func(s *session) {
		s.onVictim(func() {
			time.AfterFunc(p.delay, func() {
				p.tell("acknowledged", "after_ms", p.delay.Milliseconds())
				p.check(s.Session.Accept(victim))
			})
		})
	})
}

// muxAckOther acknowledges an id other than the one in the knock.
func muxAckOther(p *plugin) {
	p.multiplexed(func(s *session) {
		s.onVictim(func() {
			p.check(s.Wire.Ack(last+1, ""))
			p.tell("acknowledged", "id", last+1)
		})
	})
}

// muxAckFlood acknowledges as many ids as its argument says, without any knock, and accepts no
// streams meanwhile.
func muxAckFlood(p *plugin) {
	p.multiplexed(func(s *session) {
		p.greet = p.once(func() {
			for n := range p.count() {
				p.check(s.Wire.Ack(uint32(1000+n), ""))
			}
			p.tell("acknowledged", "count", p.count())
		})
		accept := s.OnStream
		s.OnStream = func(id uint32, stream net.Conn) {
			accept(id, stream)
			// The main connection is the first stream; no other is accepted.
			select {}
		}
	})
}

// muxKnockFlood knocks for an id that the host serves, as often as its argument says, and never
// reads the answers.
func muxKnockFlood(p *plugin) {
	p.multiplexed(func(s *session) {
		s.deaf = true
		p.greet = p.once(func() {
			for range p.count() {
				p.check(s.Wire.Knock(own))
			}
			p.tell("knocked-often", "count", p.count())
		})
	})
}

// muxKnockNobody knocks for as many ids as its argument says that the host does not serve, and then
// dials one that it does.
func muxKnockNobody(p *plugin) {
	p.multiplexed(func(s *session) {
		p.greet = p.once(func() {
			for n := range p.count() {
				p.check(s.Wire.Knock(uint32(1000 + n)))
			}
			p.tell("knocked-often", "count", p.count())
			s.dialBack()
		})
	})
}

// muxBadVersion answers the knock for the victim with a yamux frame of version 9.
func muxBadVersion(p *plugin) { p.frame(9, 0, 0) }

// muxBadType answers the knock for the victim with a yamux frame of an unknown type.
func muxBadType(p *plugin) { p.frame(0, 77, 0) }

// muxHugeFrame answers the knock for the victim with a yamux frame that claims to hold 2 GiB.
func muxHugeFrame(p *plugin) { p.frame(0, 0, 1<<31) }

func (p *plugin) frame(version, kind byte, length uint32) {
	p.multiplexed(func(s *session) {
		s.onVictim(func() {
			p.check(s.WriteFrame(version, kind, 0, 1, length))
			p.tell("frame", "version", version, "type", kind, "length", length)
		})
	})
}

// muxEnds closes the session in the middle of the victim's dial, and keeps running.
func muxEnds(p *plugin) {
	p.multiplexed(func(s *session) {
		s.onVictim(func() {
			p.tell("cut")
			p.check(s.Raw.Close())
		})
	})
}

// muxStreams opens as many streams as its argument says, without knocks, and keeps them open.
func muxStreams(p *plugin) { p.streams(0) }

// muxKnockStreams opens as many streams as its argument says, each after a knock, and never uses
// them.
func muxKnockStreams(p *plugin) { p.streams(own) }

func (p *plugin) streams(id uint32) {
	p.multiplexed(func(s *session) {
		p.greet = p.once(func() {
			opened, err := s.Flood(id, p.count(), 2*patience)
			p.tell("opened", "streams", opened, "error", text(err))
			if err == nil {
				s.dialBack()
			}
		})
	})
}

// muxSilent accepts the victim's stream and sends nothing on it.
func muxSilent(p *plugin) { p.takes(func(net.Conn) { p.tell("silent") }) }

// muxCloses accepts the victim's stream and closes it at once.
func muxCloses(p *plugin) {
	p.takes(func(stream net.Conn) {
		_ = stream.Close()
		p.tell("closed")
	})
}

func (p *plugin) takes(do func(net.Conn)) {
	p.multiplexed(func(s *session) {
		accept := s.OnStream
		s.OnStream = func(id uint32, stream net.Conn) {
			if id == victim {
				do(stream)
				return
			}
			accept(id, stream)
		}
	})
}

// multiplexed serves over a session, which the misbehaviour may change first.
func (p *plugin) multiplexed(change func(*session)) {
	p.fields = append(p.fields, "true")
	p.line()
	raw, err := p.listening.Accept()
	p.check(err)
	inner, err := brokerwire.NewSession(raw, true)
	p.check(err)
	s := &session{Session: inner, plugin: p, begun: make(chan struct{})}
	p.session = s
	main := brokerwire.NewListener()
	s.OnKnock = s.knocked
	s.OnStream = func(id uint32, stream net.Conn) { s.take(main, id, stream) }
	change(s)
	go s.AcceptStreams()
	p.serveMain(main)
}

func (s *session) knocked(id uint32) {
	s.plugin.tell("knocked", "id", id)
	if id <= last {
		s.plugin.check(s.Accept(id))
	}
}

// onVictim does something instead of acknowledging the knock for the victim.
func (s *session) onVictim(do func()) {
	s.OnKnock = func(id uint32) {
		if id != victim {
			s.knocked(id)
			return
		}
		s.plugin.tell("knocked", "id", id)
		do()
	}
}

// take serves a stream for the id of its knock, and records what came first on it: bytes, or its
// end.
func (s *session) take(main *brokerwire.Listener, id uint32, stream net.Conn) {
	if id == 0 {
		go s.read(0, stream, main)
		return
	}
	listener := brokerwire.NewListener()
	s.plugin.serveOn(id, listener)
	go s.read(id, stream, listener)
}

func (s *session) read(id uint32, stream net.Conn, to *brokerwire.Listener) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(stream, first); err != nil {
		s.plugin.tell("stream", "for", id, "first", "end")
		_ = stream.Close()
		return
	}
	s.plugin.tell("stream", "for", id, "first", "bytes")
	to.Give(&begun{stream, first})
}

// begun is a connection whose first byte has been read.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(into []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(into, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(into)
}

// dialBack shows with a call that the host still serves.
func (s *session) dialBack() {
	p := s.plugin
	stream, err := s.Dial(another, patience)
	p.check(err)
	channel, err := p.overStream(stream)
	p.check(err)
	defer channel.Close()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	echo, err := contracts.ProbeClient{Conn: channel}.Echo(ctx, &contracts.Payload{Data: []byte("over there")})
	p.check(err)
	p.tell("echoed", "data", string(echo.Data))
}

func (p *plugin) count() int {
	count, err := strconv.Atoi(p.argument)
	p.check(err)
	return count
}

// once runs do in the first greeting only, after the broker's stream is open.
func (p *plugin) once(do func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			<-p.session.begun
			do()
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
