//go:build !goplugin_before_1_6

package vectors

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hashicorp/yamux"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// unhex is a byte slice that decodes itself from hex.
type unhex []byte

func (u *unhex) UnmarshalText(digits []byte) (err error) {
	*u, err = hex.DecodeString(string(digits))
	return err
}

type yamuxCase struct {
	about
	Kind           string
	Hex            unhex
	Version, Type  byte
	Flags          uint16
	Stream, Length uint32
	Payload        *unhex
	Role           string
	Steps          []struct {
		Do              string
		Hex             unhex
		Sends, Receives unhex
	}
}

func TestYamuxFrames(t *testing.T) {
	t.Parallel()
	ran := map[string]int{}
	for _, c := range vectors[yamuxCase](t, "yamux-frames", 23) {
		ran[c.Kind]++
		t.Run(c.Name, func(t *testing.T) {
			check := checkFrame
			if c.Kind == "sequence" {
				check = playYamux
			}
			if err := check(t, c); err != nil {
				t.Error(err)
			}
			for i := range c.Steps {
				if sends := c.Steps[i].Sends; sends != nil {
					sends[11] ^= 1
					if check(t, c) == nil {
						t.Error("a wrong answer is accepted")
					}
					return
				}
			}
		})
	}
	if ran["frame"] < 11 || ran["sequence"] < 12 {
		t.Errorf("ran %v", ran)
	}
}

func checkFrame(_ *testing.T, c yamuxCase) error {
	h := c.Hex
	if len(h) != 12 {
		return wrong("%d bytes", len(h))
	}
	big := binary.BigEndian
	same := h[0] == c.Version && h[1] == c.Type && big.Uint16(h[2:]) == c.Flags && big.Uint32(h[4:]) == c.Stream && big.Uint32(h[8:]) == c.Length
	if !same || (c.Payload != nil && len(*c.Payload) != int(c.Length)) {
		return wrong("%x does not encode that", h)
	}
	return nil
}

// playYamux runs the real yamux at one end of a connection.
func playYamux(t *testing.T, c yamuxCase) error {
	mine, its := pair(t)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	begin := yamux.Server
	if c.Role == "client" {
		begin = yamux.Client
	}
	session, err := begin(its, config)
	if err != nil {
		return err
	}
	defer session.Close()
	var stream net.Conn
	for n, step := range c.Steps {
		switch {
		case step.Sends != nil:
			got := make([]byte, len(step.Sends))
			if _, err := io.ReadFull(mine, got); err != nil || !bytes.Equal(got, step.Sends) {
				return wrong("step %d: yamux sends %x (%v), want %x", n, got, err, step.Sends)
			}
		case step.Receives != nil:
			if _, err := mine.Write(step.Receives); err != nil {
				return wrong("step %d: %w", n, err)
			}
		case step.Do == "ends":
			// The session may still send a last frame.
			go func() { _, _ = io.Copy(io.Discard, mine) }()
			select {
			case <-session.CloseChan():
			case <-time.After(patience):
				return wrong("the session is still open")
			}
		default:
			opened, err := act(session, stream, step.Do, step.Hex)
			if err != nil {
				return wrong("step %d: %s: %w", n, step.Do, err)
			}
			stream = opened
		}
	}
	return nil
}

// act performs an action of the program that uses the session.
func act(session *yamux.Session, stream net.Conn, what string, data []byte) (net.Conn, error) {
	switch what {
	case "open":
		return session.Open()
	case "accept":
		return session.Accept()
	case "write":
		_, err := stream.Write(data)
		return stream, err
	}
	got := make([]byte, len(data))
	_, err := io.ReadFull(stream, got)
	if err == nil && !bytes.Equal(got, data) {
		err = wrong("%x, want %x", got, data)
	}
	return stream, err
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (mine, its net.Conn) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(folder(t), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if mine, err = net.Dial("unix", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if its, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	must(mine.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _, _ = mine.Close(), its.Close() })
	return mine, its
}

type grpcCase struct {
	about
	Kind               string
	Hex, Message, Send unhex
	Type               string
	Answer             *unhex
	Status             int
}

func TestGRPCFrames(t *testing.T) {
	t.Parallel()
	ran := map[string]int{}
	check := map[string]func(*testing.T, grpcCase) error{"message": checkMessage, "exchange": checkExchange}
	for _, c := range vectors[grpcCase](t, "grpc-frames", 9) {
		ran[c.Kind]++
		t.Run(c.Name, func(t *testing.T) {
			if err := check[c.Kind](t, c); err != nil {
				t.Error(err)
			}
			if c.Kind == "message" {
				c.Hex[4] ^= 1
			} else {
				c.Status++
			}
			if check[c.Kind](t, c) == nil {
				t.Error("a wrong answer is accepted")
			}
		})
	}
	if ran["message"] < 6 || ran["exchange"] < 3 {
		t.Errorf("ran %v", ran)
	}
}

// checkMessage compares the prefix, the length, and the message as decoded by go-plugin's own type.
func checkMessage(_ *testing.T, c grpcCase) error {
	want := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(c.Message))), c.Message...)
	if !bytes.Equal(c.Hex, want) {
		return wrong("%x, want %x", c.Hex, want)
	}
	message, err := decodeAs(c.Type, c.Message)
	if err != nil {
		return err
	}
	known := proto.Clone(message)
	proto.DiscardUnknown(known)
	if !proto.Equal(message, known) {
		return wrong("%s does not decode all of %x", c.Type, c.Message)
	}
	return nil
}

// decodeAs decodes a message into the type of that name registered by go-plugin or grpc-go.
func decodeAs(name string, data []byte) (proto.Message, error) {
	kind := proto.MessageType(name)
	if kind == nil {
		return nil, wrong("there is no %s", name)
	}
	message := reflect.New(kind.Elem()).Interface().(proto.Message)
	return message, proto.Unmarshal(data, message)
}

// checkExchange sends the bytes of a whole connection to a real plugin.
func checkExchange(t *testing.T, c grpcCase) error {
	environment := map[string]string{"EXAMPLE_PLUGIN": "hello", "PLUGIN_PROTOCOL_VERSIONS": "1"}
	plugin, err := serve(t, served{"EXAMPLE_PLUGIN", "hello", []int{1}}, folder(t), environment)
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", plugin.fields[3])
	if err != nil {
		return err
	}
	defer conn.Close()
	must(conn.SetDeadline(time.Now().Add(patience)))
	if _, err := conn.Write(c.Send); err != nil {
		return err
	}
	framer := http2.NewFramer(io.Discard, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var answer []byte
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			answer = append(answer, frame.Data()...)
		case *http2.MetaHeadersFrame:
			if frame.StreamEnded() {
				return compareAnswer(c, answer, frame.RegularFields())
			}
		}
	}
}

func compareAnswer(c grpcCase, answer []byte, trailers []hpack.HeaderField) error {
	var want []byte
	if c.Answer != nil {
		want = *c.Answer
	}
	if !bytes.Equal(answer, want) {
		return wrong("the plugin answers %x, want %x", answer, want)
	}
	for _, field := range trailers {
		if field.Name == "grpc-status" && field.Value == strconv.Itoa(c.Status) {
			return nil
		}
	}
	return wrong("trailers %v, want grpc-status %d", trailers, c.Status)
}
