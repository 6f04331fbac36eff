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

// victim is the id that something is wrong with.
const victim = 7

// nothing is the control.
func nothing(*host) error { return nil }

// failing lets the plugin dial an id, which must fail. What it says is in the report, with the time it took.
func (h *host) failing(name string, id uint32) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	back, err := h.dialBack(ctx, id)
	if err != nil {
		return err
	}
	if back.Dialled {
		return fmt.Errorf("%s: the plugin reached somebody", name)
	}
	h.Saw[name] = back.DialError
	h.Saw[name+"_ms"] = back.DialMs
	return nil
}

// unannounced lets the plugin dial an id that is never announced, or with multiplexing whose knock is never answered.
func unannounced(h *host) error { return h.failing("unknown", victim) }

// badAddresses announces what is no address.
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

// announceMany announces --count ids that nobody dials, at addresses of --size bytes.
func announceMany(h *host) error {
	address := "/" + strings.Repeat("x", h.size-1)
	for n := range h.count {
		if err := h.wire.Announce(uint32(1000+n), "unix", address); err != nil {
			return err
		}
	}
	// An answer that comes from behind them: they have been read. The newest announcement counts, too.
	if err := h.announceServed(victim); err != nil {
		return err
	}
	return h.reached(victim)
}

// reached lets the plugin dial an id, which must work.
func (h *host) reached(id uint32) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	back, err := h.dialBack(ctx, id)
	if err == nil && string(back.Data) != "back" {
		err = fmt.Errorf("id %d: %+v", id, back)
	}
	return err
}

// halfOpen announces a socket that takes connections and says nothing.
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

// connectMany makes up to --count connections to a brokered listener of the plugin's, and says nothing on them. It ends
// where the system takes no more, since the plugin does not.
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

// ackError refuses the victim's knock.
func ackError(h *host) error {
	h.onVictim(func() error { return h.wire.Ack(victim, "no listener for you") })
	return h.failing("refused", victim)
}

// ackLate acknowledges when the plugin's dial has timed out. The plugin has to open a stream for that and to close it.
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

// ackFlood acknowledges --count ids that nobody knocked for.
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

// streams opens --count streams without a knock, and says nothing on them.
func streams(h *host) error {
	opened, err := h.session.Flood(0, h.count, patience)
	h.Saw["opened"] = opened
	return err
}

// knockStreams opens --count streams, each after a knock, and says nothing on them.
func knockStreams(h *host) error {
	id, err := h.offer()
	if err != nil {
		return err
	}
	opened, err := h.session.Flood(id, h.count, patience)
	h.Saw["opened"] = opened
	return err
}

// frame answers the victim's knock with a frame that yamux does not have.
func frame(version, kind byte, length uint32) func(*host) error {
	return func(h *host) error {
		return h.fatal(func() error { return h.session.WriteFrame(version, kind, 0, 1, length) })
	}
}

// ends cuts the session in the middle of the victim's dial.
func ends(h *host) error { return h.fatal(h.session.Raw.Close) }

// fatal does it when the victim's knock comes, which must end the call at once, and the session.
func (h *host) fatal(do func() error) error {
	done := make(chan error, 1)
	h.onVictim(func() error {
		done <- do()
		return nil
	})
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if _, err := h.dialBack(ctx, victim); err == nil || ctx.Err() != nil {
		return fmt.Errorf("the call lives on: %w", errors.Join(err, ctx.Err()))
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
