// Package brokerwire writes the broker's protocol by hand, for peers that misbehave.
package brokerwire

import (
	"net"
	"sync"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// Stream is the broker's stream, of either role.
type Stream interface {
	SendMsg(any) error
	RecvMsg(any) error
}

// Wire sends the broker's messages, from any goroutine.
type Wire struct {
	stream  Stream
	sending sync.Mutex
}

// New creates a Wire on a stream.
func New(stream Stream) *Wire { return &Wire{stream: stream} }

func (w *Wire) send(info *contracts.ConnInfo) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.stream.SendMsg(info)
}

// Announce announces the address at which an id is served.
func (w *Wire) Announce(id uint32, network, address string) error {
	return w.send(&contracts.ConnInfo{ServiceID: id, Network: network, Address: address})
}

// Knock asks to open a stream for an id.
func (w *Wire) Knock(id uint32) error {
	return w.send(&contracts.ConnInfo{ServiceID: id, Knock: &contracts.Knock{Knock: true}})
}

// Ack answers a knock; a non-empty refusal rejects it.
func (w *Wire) Ack(id uint32, refusal string) error {
	return w.send(&contracts.ConnInfo{ServiceID: id, Knock: &contracts.Knock{Knock: true, Ack: true, Error: refusal}})
}

// Recv waits for the next message from the other side.
func (w *Wire) Recv() (*contracts.ConnInfo, error) {
	return contracts.Recv[contracts.ConnInfo](w.stream)
}

// Listener hands out connections that were accepted in another way.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener creates a Listener without connections.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Give passes a connection to Accept, or closes it if the listener is closed.
func (l *Listener) Give(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: "by-hand", Net: "unix"} }
