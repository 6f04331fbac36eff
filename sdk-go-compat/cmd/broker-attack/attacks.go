//go:build !goplugin_before_1_6

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// victim is the id with a fault.
const victim = 7

// nothing is the control.
func nothing(*host) error { return nil }

// failing makes the plugin dial an id, which must fail. The plugin's error and the time it took are
// in the report.
func (h *host) failing(name string, id uint32) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	back, err := h.dialBack(ctx, id)
	if err != nil {
		return err
	}
	if back.Dialled {
		return fmt.Errorf("%s: the plugin's dial succeeded", name)
	}
	h.Saw[name] = back.DialError
	h.Saw[name+"_ms"] = back.DialMs
	return nil
}

// unannounced makes the plugin dial an id that is never announced or, with multiplexing, whose
// knock is never answered.
func unannounced(h *host) error { return h.failing("unknown", victim) }

// badAddresses announces invalid addresses.
func badAddresses(h *host) error {
	for n, address := range []string{"|", "unix|", "udp|127.0.0.1:53", "tcp|localhost", "unix|/" + strings.Repeat("x", 1<<20)} {
		network, where, _ := strings.Cut(address, "|")
		id := uint32(victim + n)
		if err := h.wire.Announce(id, network, where); err != nil {
			return err
		}
		if err := h.failing(fmt.Sprint("address ", n), id); err != nil {
			return err
		}
	}
	return nil
}

// announceMany announces --count ids that are never dialed, at addresses of --size bytes.
func announceMany(h *host) error {
	address := "/" + strings.Repeat("x", h.size-1)
	for n := range h.count {
		if err := h.wire.Announce(uint32(1000+n), "unix", address); err != nil {
			return err
		}
	}
	// This answer comes after the flood, so the flood has been read. The latest announcement
	// counts, too.
	if err := h.announceServed(victim); err != nil {
		return err
	}
	return h.reached(victim)
}

// reached makes the plugin dial an id, which must work.
func (h *host) reached(id uint32) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	back, err := h.dialBack(ctx, id)
	if err == nil && string(back.Data) != "back" {
		err = fmt.Errorf("id %d: %+v", id, back)
	}
	return err
}

// halfOpen announces a socket that accepts connections and sends nothing.
func halfOpen(h *host) error { return h.takes(func(net.Conn) {}) }

// closes announces a socket that closes each connection at once.
func closes(h *host) error { return h.takes(func(conn net.Conn) { _ = conn.Close() }) }

func (h *host) takes(do func(net.Conn)) error {
	listener, err := net.Listen("unix", h.freePath())
	if err != nil {
		return err
	}
	taken := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			taken <- conn
			do(conn)
		}
	}()
	if err := h.wire.Announce(victim, "unix", listener.Addr().String()); err != nil {
		return err
	}
	if err := h.failing("victim", victim); err != nil {
		return err
	}
	select {
	case conn := <-taken:
		_ = conn.Close()
		return nil
	default:
		return errors.New("the plugin did not connect")
	}
}

// connectMany makes up to --count connections to a brokered listener of the plugin, and sends
// nothing on them. It stops when the system accepts no more connections, since the plugin has no
// limit.
func connectMany(h *host) error {
	address, err := h.offered()
	if err != nil {
		return err
	}
	connected := 0
	for ; connected < h.count; connected++ {
		_, err := net.Dial("unix", address)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			return err
		}
	}
	h.Saw["connected"] = connected
	return nil
}

// ackError rejects the knock for the victim.
func ackError(h *host) error {
	h.onVictim(func() error { return h.wire.Ack(victim, "no listener for you") })
	return h.failing("refused", victim)
}

// ackLate acknowledges after the plugin's dial has timed out. The plugin must open a stream for it
// and close it.
func ackLate(h *host) error {
	h.onVictim(func() error { return nil })
	if err := h.failing("late", victim); err != nil {
		return err
	}
	if err := h.session.Accept(victim); err != nil {
		return err
	}
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if streams := h.streamsTaken(); len(streams) > 0 && streams[len(streams)-1] == victim {
			h.Saw["consumed"] = true
			return nil
		}
	}
	return errors.New("no stream came for the late acknowledgement")
}

func (h *host) streamsTaken() []uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]uint32(nil), h.taken...)
}

// ackFlood acknowledges --count ids without any knock.
func ackFlood(h *host) error {
	for n := range h.count {
		if err := h.wire.Ack(uint32(1000+n), ""); err != nil {
			return err
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	return h.mainAnswers(ctx)
}

// knockNobody knocks --count times for ids that the plugin does not accept.
func knockNobody(h *host) error {
	for n := range h.count {
		if err := h.wire.Knock(uint32(1000 + n)); err != nil {
			return err
		}
	}
	return nil
}

// knockFlood knocks --count times for an id that the plugin accepts, and never reads an answer.
func knockFlood(h *host) error {
	id, err := h.offer()
	if err != nil {
		return err
	}
	for range h.count {
		if err := h.wire.Knock(id); err != nil {
			return err
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	return h.mainAnswers(ctx)
}

// streams opens --count streams without knocks, and sends nothing on them.
func streams(h *host) error {
	opened, err := h.session.Flood(0, h.count, patience)
	h.Saw["opened"] = opened
	return err
}

// knockStreams opens --count streams, each after a knock, and sends nothing on them.
func knockStreams(h *host) error {
	id, err := h.offer()
	if err != nil {
		return err
	}
	opened, err := h.session.Flood(id, h.count, patience)
	h.Saw["opened"] = opened
	return err
}

// frame answers the knock for the victim with a frame that yamux does not define.
func frame(version, kind byte, length uint32) func(*host) error {
	return func(h *host) error {
		return h.fatal(func() error { return h.session.WriteFrame(version, kind, 0, 1, length) })
	}
}

// ends closes the session in the middle of the victim's dial.
func ends(h *host) error { return h.fatal(h.session.Raw.Close) }

// fatal runs do when the knock for the victim arrives, which must end the call and the session at
// once.
func (h *host) fatal(do func() error) error {
	done := make(chan error, 1)
	h.onVictim(func() error {
		done <- do()
		return nil
	})
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if _, err := h.dialBack(ctx, victim); err == nil || ctx.Err() != nil {
		return fmt.Errorf("the call did not end with the session: %w", errors.Join(err, ctx.Err()))
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errors.New("the plugin did not knock")
	}
}

func (h *host) onVictim(do func() error) {
	h.onKnock = func(id uint32) bool {
		if id == victim {
			_ = do()
		}
		return id == victim
	}
}
