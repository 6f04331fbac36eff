//go:build !goplugin_before_1_6

package vectors

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/golang/protobuf/jsonpb"
	"github.com/golang/protobuf/proto"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/brokerwire"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/plugins"
)

type brokerCase struct {
	about
	Kind      string
	Hex       unhex
	Canonical bool
	Message   json.RawMessage
	Error     bool
	Multiplex bool
	Steps     []brokerStep
}

type brokerStep struct {
	Do, Peer, Outcome string
	ID                uint32
	Sends, Receives   *connInfo
}

type connInfo struct {
	ServiceID        uint32 `json:"service_id"`
	Network, Address string
	Knock            *contracts.Knock
}

func TestBrokerMessages(t *testing.T) {
	ran := map[string]int{}
	check := map[string]func(*testing.T, brokerCase) error{"message": checkConnInfo, "sequence": playBroker}
	for _, c := range vectors[brokerCase](t, "broker-messages", 27) {
		ran[c.Kind]++
		t.Run(c.Name, func(t *testing.T) {
			if err := check[c.Kind](t, c); err != nil {
				t.Error(err)
			}
		})
		switch c.Name {
		case "knock":
			c.Message = json.RawMessage(`{"service_id":8,"network":"","address":"","knock":null}`)
		case "accept":
			c.Steps[1].Sends.ServiceID++
		case "multiplexed-dial":
			c.Steps[len(c.Steps)-1].Outcome = "failed"
		default:
			continue
		}
		t.Run("another answer than "+c.Name+" fails", func(t *testing.T) {
			if check[c.Kind](t, c) == nil {
				t.Error("a wrong answer is accepted")
			}
		})
	}
	if ran["message"] < 16 || ran["sequence"] < 11 {
		t.Errorf("ran %v", ran)
	}
}

// checkConnInfo decodes and encodes with go-plugin's own type.
func checkConnInfo(_ *testing.T, c brokerCase) error {
	got, err := decodeAs("plugin.ConnInfo", c.Hex)
	if c.Error || err != nil {
		if c.Error != (err != nil) {
			return wrong("Go: %v", err)
		}
		return nil
	}
	want, err := decodeAs("plugin.ConnInfo", nil)
	if err != nil {
		return err
	}
	if err := jsonpb.UnmarshalString(string(c.Message), want); err != nil {
		return err
	}
	canonical, err := proto.Marshal(want)
	if err != nil {
		return err
	}
	if c.Canonical && !bytes.Equal(canonical, c.Hex) {
		return wrong("Go writes %x", canonical)
	}
	proto.DiscardUnknown(got)
	if !proto.Equal(got, want) {
		return wrong("Go reads %v, want %v", got, want)
	}
	return nil
}

// stage is a real plugin's broker, and a host that writes the protocol by hand.
type stage struct {
	broker  *goplugin.GRPCBroker
	wire    *brokerwire.Wire
	session *brokerwire.Session
	dir     string

	// The address the plugin listens at, as announced, and the one the host listens at.
	announced string
	listener  net.Listener
	// Whether bytes passed through.
	connected bool
	// The results of the plugin's Accept and Dial.
	accepted chan net.Conn
	dialled  chan error
}

func playBroker(t *testing.T, c brokerCase) error {
	s := setUp(t, c.Multiplex)
	for n, step := range c.Steps {
		if err := s.play(step); err != nil {
			return wrong("step %d: %w", n, err)
		}
	}
	return nil
}

func setUp(t *testing.T, multiplex bool) *stage {
	t.Helper()
	s := &stage{dir: folder(t), accepted: make(chan net.Conn, 4), dialled: make(chan error, 1)}
	t.Setenv("TMPDIR", s.dir)
	t.Setenv("PLUGIN_MULTIPLEX_GRPC", map[bool]string{true: "true"}[multiplex])
	ctx, stop := context.WithCancel(context.Background())
	records, closed := make(chan *goplugin.ReattachConfig, 1), make(chan struct{})
	brokers := make(chan *goplugin.GRPCBroker, 1)
	go goplugin.Serve(&goplugin.ServeConfig{
		Plugins: goplugin.PluginSet{"any": &plugins.Served{
			Register: func(broker *goplugin.GRPCBroker, _ *grpc.Server) { brokers <- broker },
		}},
		GRPCServer: goplugin.DefaultGRPCServer,
		Logger:     hclog.NewNullLogger(),
		Test:       &goplugin.ServeTestConfig{Context: ctx, ReattachConfigCh: records, CloseCh: closed},
	})
	record := <-records
	s.broker = <-brokers
	conn, err := s.connect(record.Addr.String(), multiplex)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := contracts.StartBroker(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	s.wire = brokerwire.New(stream)
	if s.listener, err = net.Listen("unix", filepath.Join(s.dir, "host")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = conn.Close(), s.listener.Close()
		if s.session != nil {
			_ = s.session.Yamux.Close()
		}
		stop()
		<-closed
	})
	return s
}

// connect opens the host's main connection, which with multiplexing is the first stream of the
// session.
func (s *stage) connect(path string, multiplex bool) (*grpc.ClientConn, error) {
	raw, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	if multiplex {
		if s.session, err = brokerwire.NewSession(raw, false); err != nil {
			return nil, err
		}
		if raw, err = s.session.Yamux.Open(); err != nil {
			return nil, err
		}
	}
	once := make(chan net.Conn, 1)
	once <- raw
	dial := grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		select {
		case conn := <-once:
			return conn, nil
		default:
			return nil, io.ErrClosedPipe
		}
	})
	return grpc.Dial("passthrough:///plugin", grpc.WithInsecure(), dial)
}

func (s *stage) play(step brokerStep) error {
	switch {
	case step.Do == "accept":
		return s.accept(step.ID)
	case step.Do == "dial":
		go func() { s.dialled <- s.dial(step.ID) }()
		return nil
	case step.Sends != nil:
		return s.expect(step.Sends)
	case step.Receives != nil:
		return s.tell(step.Receives)
	case step.Peer == "connects":
		return s.connects()
	case step.Peer == "is-connected-to":
		return s.isConnectedTo()
	case step.Outcome == "failed":
		return s.failed()
	}
	if !s.connected {
		return wrong("there is no connection")
	}
	return nil
}

func (s *stage) accept(id uint32) error {
	listener, err := s.broker.Accept(id)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.accepted <- conn
		}
	}()
	return nil
}

// dial does what a plugin does until a call is answered: connecting continues after Dial returns.
func (s *stage) dial(id uint32) error {
	conn, err := s.broker.Dial(id)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	return contracts.Shutdown(ctx, conn)
}

func (s *stage) expect(want *connInfo) error {
	info, err := s.wire.Recv()
	if err != nil {
		return err
	}
	got := connInfo{info.ServiceID, info.Network, info.Address, info.Knock}
	wanted := *want
	if wanted.Address == "$ADDRESS" {
		s.announced, wanted.Address = got.Address, got.Address
	}
	if !reflect.DeepEqual(got, wanted) {
		return wrong("the plugin sends %+v, want %+v", got, wanted)
	}
	return nil
}

func (s *stage) tell(info *connInfo) error {
	switch {
	case info.Knock == nil:
		return s.wire.Announce(info.ServiceID, info.Network, s.listener.Addr().String())
	case info.Knock.Ack:
		return s.wire.Ack(info.ServiceID, info.Knock.Error)
	}
	return s.wire.Knock(info.ServiceID)
}

// connects sends bytes, which must arrive at the plugin's listener.
func (s *stage) connects() (err error) {
	var conn net.Conn
	if s.session != nil {
		conn, err = s.session.Yamux.Open()
	} else {
		conn, err = net.Dial("unix", s.announced)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hi")); err != nil {
		return err
	}
	select {
	case accepted := <-s.accepted:
		defer accepted.Close()
		return s.hear(accepted, "hi")
	case <-time.After(patience):
		return wrong("the connection does not arrive")
	}
}

// isConnectedTo waits for the plugin to connect and begin HTTP/2.
func (s *stage) isConnectedTo() error {
	conn, err := s.next(patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.hear(conn, "PRI * HTTP/2.0")
}

// failed waits for the plugin's dial to fail without having connected.
func (s *stage) failed() error {
	select {
	case err := <-s.dialled:
		if err == nil {
			return wrong("the dial succeeds")
		}
	case <-time.After(patience):
		return wrong("the dial does not end")
	}
	if s.connected {
		return wrong("the plugin connected")
	}
	if conn, err := s.next(100 * time.Millisecond); err == nil {
		_ = conn.Close()
		return wrong("the plugin connects")
	}
	return nil
}

// next returns the connection that the plugin opens to the host.
func (s *stage) next(limit time.Duration) (net.Conn, error) {
	if s.session == nil {
		must(s.listener.(*net.UnixListener).SetDeadline(time.Now().Add(limit)))
		return s.listener.Accept()
	}
	type arrival struct {
		conn net.Conn
		err  error
	}
	arrived := make(chan arrival, 1)
	go func() {
		conn, err := s.session.Yamux.Accept()
		arrived <- arrival{conn, err}
	}()
	select {
	case a := <-arrived:
		return a.conn, a.err
	case <-time.After(limit):
		return nil, wrong("no connection within %v", limit)
	}
}

// hear reads what the other side must send.
func (s *stage) hear(conn net.Conn, want string) error {
	must(conn.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		return wrong("%q arrives (%v), want %q", got, err, want)
	}
	s.connected = true
	return nil
}
