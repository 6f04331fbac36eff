//go:build !goplugin_before_1_6

package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/brokerwire"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// victim is the id with a fault; good works, in misbehaviours that have it.
const (
	victim = 7
	good   = 8
)

// announces an address without a listener: network:address in the argument, where {} is the socket
// directory.
func announces(p *plugin) {
	network, address, _ := strings.Cut(p.argument, ":")
	address = strings.ReplaceAll(address, "{}", filepath.Dir(p.fields[3]))
	p.onBroker = func(wire *brokerwire.Wire) { p.announce(wire, victim, network, address) }
	p.serve()
}

// announcesServed announces an address at which it really serves: network:address in the argument.
func announcesServed(p *plugin) {
	network, address, _ := strings.Cut(p.argument, ":")
	listener := p.serveBrokered(victim, network, address)
	p.onBroker = func(wire *brokerwire.Wire) { p.announce(wire, victim, network, listener.Addr().String()) }
	p.serve()
}

// announcesLinks serves at the path in the argument, outside the socket directory. It announces the
// path by two links in that directory: one to the socket (for the victim) and one to the socket's
// directory.
func announcesLinks(p *plugin) {
	p.serveBrokered(victim, "unix", p.argument)
	folder := filepath.Dir(p.fields[3])
	socket, through := filepath.Join(folder, "socket"), filepath.Join(folder, "through")
	p.check(os.Symlink(p.argument, socket))
	p.check(os.Symlink(filepath.Dir(p.argument), through))
	p.onBroker = func(wire *brokerwire.Wire) {
		p.announce(wire, victim, "unix", socket)
		p.announce(wire, good, "unix", filepath.Join(through, filepath.Base(p.argument)))
	}
	p.serve()
}

// announcesTwice announces one id at two sockets, and serves both: the first as connection 1.
func announcesTwice(p *plugin) {
	first, second := p.freePath(), p.freePath()
	p.serveBrokered(1, "unix", first)
	p.serveBrokered(2, "unix", second)
	p.onBroker = func(wire *brokerwire.Wire) {
		p.announce(wire, victim, "unix", first)
		p.announce(wire, victim, "unix", second)
	}
	p.serve()
}

// announcesMany announces COUNT ids that are never dialed, at addresses of SIZE bytes (COUNT:SIZE),
// and then a good one.
func announcesMany(p *plugin) {
	number, length, _ := strings.Cut(p.argument, ":")
	count, err := strconv.Atoi(number)
	p.check(err)
	size, err := strconv.Atoi(length)
	p.check(err)
	listener := p.serveBrokered(good, "unix", p.freePath())
	p.onBroker = func(wire *brokerwire.Wire) {
		address := "/" + strings.Repeat("x", size-1)
		for n := range count {
			p.check(wire.Announce(uint32(1000+n), "unix", address))
		}
		p.tell("announced-many", "count", count)
		p.announce(wire, good, "unix", listener.Addr().String())
	}
	p.serve()
}

// brokeredSilent announces a socket that accepts connections and never sends anything.
func brokeredSilent(p *plugin) {
	p.brokeredEach(func(net.Conn) { p.tell("silent") })
}

// brokeredCloses announces a socket that closes each connection at once.
func brokeredCloses(p *plugin) {
	p.brokeredEach(func(conn net.Conn) {
		_ = conn.Close()
		p.tell("closed")
	})
}

func (p *plugin) brokeredEach(do func(net.Conn)) {
	path := p.freePath()
	listener, err := net.Listen("unix", path)
	p.check(err)
	var held []net.Conn
	go func() {
		for {
			conn, err := listener.Accept()
			p.check(err)
			held = append(held, conn)
			do(conn)
		}
	}()
	p.onBroker = func(wire *brokerwire.Wire) { p.announce(wire, victim, "unix", path) }
	p.serve()
}

func (p *plugin) announce(wire *brokerwire.Wire, id uint32, network, address string) {
	p.check(wire.Announce(id, network, address))
	p.tell("announced", "id", id, "network", network, "address", address)
}

// serveBrokered serves a greeter whose replies name the connection.
func (p *plugin) serveBrokered(id uint32, network, address string) net.Listener {
	listener, err := net.Listen(network, address)
	p.check(err)
	p.serveOn(id, listener)
	return listener
}

func (p *plugin) serveOn(id uint32, listener net.Listener) {
	if p.tls != nil {
		listener = tls.NewListener(listener, p.tls)
	}
	server := grpc.NewServer()
	contracts.RegisterGreeter(server, numbered{p, id})
	go func() { _ = server.Serve(listener) }()
}

type numbered struct {
	*plugin
	id uint32
}

func (n numbered) Greet(context.Context, *contracts.GreetRequest) (*contracts.GreetResponse, error) {
	n.tell("greeted-on", "connection", n.id)
	return &contracts.GreetResponse{Message: "connection " + strconv.Itoa(int(n.id))}, nil
}

// broker performs what a misbehaviour needs, and receives announcements.
type broker struct{ *plugin }

func (b broker) StartStream(stream grpc.ServerStream) error {
	wire := brokerwire.New(stream)
	go b.onBroker(wire)
	if b.session != nil {
		b.session.Wire = wire
		close(b.session.begun)
		if b.session.deaf {
			<-stream.Context().Done()
		}
		b.session.Hear()
		return nil
	}
	for {
		if _, err := wire.Recv(); err != nil {
			return nil
		}
	}
}
