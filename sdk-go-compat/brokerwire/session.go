//go:build !goplugin_before_1_6

package brokerwire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Session is one end of a multiplexed connection. It follows go-plugin's rules, with hooks to break
// them.
type Session struct {
	// Raw is the socket below yamux.
	Raw net.Conn
	// Yamux is the session on it.
	Yamux *yamux.Session
	// Wire is the broker's stream, once there is one.
	Wire *Wire

	// OnKnock answers a knock of the other side.
	OnKnock func(id uint32)
	// OnStream takes a stream that the other side opened; id is 0 if no acknowledged knock preceded
	// it.
	OnStream func(id uint32, stream net.Conn)

	mu      sync.Mutex
	pairing uint32
	acks    map[uint32]chan string
}

// NewSession starts a session; the plugin is yamux's server.
func NewSession(raw net.Conn, plugin bool) (*Session, error) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	begin := yamux.Client
	if plugin {
		begin = yamux.Server
	}
	session, err := begin(raw, config)
	if err != nil {
		return nil, err
	}
	return &Session{Raw: raw, Yamux: session, acks: map[uint32]chan string{}}, nil
}

// AcceptStreams passes each stream to OnStream until the session ends.
func (s *Session) AcceptStreams() {
	for {
		stream, err := s.Yamux.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		id := s.pairing
		s.pairing = 0
		s.mu.Unlock()
		s.OnStream(id, stream)
	}
}

// Hear reads the broker's stream to its end.
func (s *Session) Hear() {
	for {
		info, err := s.Wire.Recv()
		if err != nil {
			return
		}
		switch {
		case info.Knock == nil:
		case info.Knock.Ack:
			s.mu.Lock()
			waiting := s.acks[info.ServiceID]
			delete(s.acks, info.ServiceID)
			s.mu.Unlock()
			if waiting != nil {
				waiting <- info.Knock.Error
			}
		default:
			s.OnKnock(info.ServiceID)
		}
	}
}

// Accept assigns the next stream to the id, and acknowledges the knock.
func (s *Session) Accept(id uint32) error {
	s.Pair(id)
	return s.Wire.Ack(id, "")
}

// Pair assigns the next stream to the id.
func (s *Session) Pair(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairing = id
}

// Dial knocks, waits for the answer and opens a stream.
func (s *Session) Dial(id uint32, limit time.Duration) (net.Conn, error) {
	answer := make(chan string, 1)
	s.mu.Lock()
	s.acks[id] = answer
	s.mu.Unlock()
	if err := s.Wire.Knock(id); err != nil {
		return nil, err
	}
	select {
	case refusal := <-answer:
		if refusal != "" {
			return nil, errors.New(refusal)
		}
		return s.Yamux.Open()
	case <-time.After(limit):
		return nil, errors.New("no answer to the knock")
	}
}

// Flood opens streams and keeps them open, each after a dial of the id, or without a knock if the
// id is 0. It returns how many were opened.
func (s *Session) Flood(id uint32, count int, limit time.Duration) (int, error) {
	until := time.Now().Add(limit)
	for n := range count {
		if time.Now().After(until) {
			return n, errors.New("opening the streams took too long")
		}
		var err error
		if id == 0 {
			_, err = s.Yamux.Open()
		} else {
			_, err = s.Dial(id, time.Until(until))
		}
		if err != nil {
			return n, err
		}
	}
	return count, nil
}

// WriteFrame writes a yamux header directly to the socket, valid or not.
func (s *Session) WriteFrame(version, kind byte, flags uint16, stream, length uint32) error {
	var header [12]byte
	header[0], header[1] = version, kind
	binary.BigEndian.PutUint16(header[2:], flags)
	binary.BigEndian.PutUint32(header[4:], stream)
	binary.BigEndian.PutUint32(header[8:], length)
	_, err := s.Raw.Write(header[:])
	return err
}
