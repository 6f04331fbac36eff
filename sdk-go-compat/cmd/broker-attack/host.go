//go:build !goplugin_before_1_6

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/plugwire/plugwire/sdk-go-compat/brokerwire"
	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
)

// own is the id that the host serves correctly.
const own = 3

// host behaves correctly, except for what its attack does.
type host struct {
	*report
	count, size int

	plugin *exec.Cmd
	main   *grpc.ClientConn
	wire   *brokerwire.Wire
	// session is nil without multiplexing.
	session *brokerwire.Session
	folder  string

	mu        sync.Mutex
	announced map[uint32]chan string
	// taken lists the ids for which the plugin's streams came, in order.
	taken []uint32
	paths int
	// onKnock, if set, handles a knock first; it returns true if nothing else is to be done.
	onKnock func(id uint32) bool
}

// play starts the plugin, attacks it, and ends it.
func (h *host) play(chosen attack, cookie string, command []string) error {
	ctx, stop := context.WithTimeout(context.Background(), 3*patience)
	defer stop()
	folder, err := os.MkdirTemp("", "attack")
	if err != nil {
		return err
	}
	h.folder = folder
	defer os.RemoveAll(folder)
	h.announced = map[uint32]chan string{}
	address, err := h.start(ctx, chosen, cookie, command)
	if err == nil {
		err = h.connect(ctx, chosen, address)
	}
	if err == nil {
		err = h.attack(ctx, chosen)
	}
	h.end(chosen.fatal && err == nil)
	return err
}

func (h *host) start(ctx context.Context, chosen attack, cookie string, command []string) (string, error) {
	h.plugin = exec.CommandContext(ctx, command[0], command[1:]...)
	h.plugin.Env = append(os.Environ(), cookie, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR="+h.folder)
	if chosen.multiplexed {
		h.plugin.Env = append(h.plugin.Env, "PLUGIN_MULTIPLEX_GRPC=true")
	}
	h.plugin.Stderr = os.Stderr
	stdout, err := h.plugin.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := h.plugin.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", err
	}
	fields := strings.Split(strings.TrimSpace(line), "|")
	if len(fields) < 5 || fields[2] != "unix" || (chosen.multiplexed && (len(fields) < 7 || fields[6] != "true")) {
		return "", fmt.Errorf("not the expected handshake line: %q", line)
	}
	return fields[3], nil
}

func (h *host) connect(ctx context.Context, chosen attack, address string) error {
	raw, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	if chosen.multiplexed {
		if h.session, err = brokerwire.NewSession(raw, false); err != nil {
			return err
		}
		h.session.OnKnock = h.knocked
		h.session.OnStream = h.take
		if raw, err = h.session.Yamux.Open(); err != nil {
			return err
		}
		go h.session.AcceptStreams()
	}
	if h.main, err = over(ctx, raw); err != nil {
		return err
	}
	stream, err := contracts.StartBroker(context.Background(), h.main)
	if err != nil {
		return err
	}
	h.wire = brokerwire.New(stream)
	if h.session != nil {
		h.session.Wire = h.wire
	}
	if h.How == "mux-knock-flood" {
		// This attack never reads the answers.
		return nil
	}
	go h.hear()
	return nil
}

func (h *host) hear() {
	if h.session != nil {
		h.session.Hear()
		return
	}
	for {
		info, err := h.wire.Recv()
		if err != nil {
			return
		}
		h.announcement(info.ServiceID) <- info.Address
	}
}

func (h *host) announcement(id uint32) chan string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.announced[id] == nil {
		h.announced[id] = make(chan string, 16)
	}
	return h.announced[id]
}

// attack measures memory around the attack, and then checks that the plugin still serves.
func (h *host) attack(ctx context.Context, chosen attack) error {
	if err := h.good(ctx); err != nil {
		return fmt.Errorf("before the attack: %w", err)
	}
	h.Before = h.resident()
	if err := chosen.run(h); err != nil {
		return err
	}
	if chosen.fatal {
		return nil
	}
	h.After = h.resident()
	if h.How == "mux-knock-flood" {
		return h.mainAnswers(ctx)
	}
	if err := h.good(ctx); err != nil {
		return fmt.Errorf("after the attack: %w", err)
	}
	return nil
}

// good makes a call on the main connection, and one on a brokered connection in each direction.
func (h *host) good(ctx context.Context) error {
	if err := h.mainAnswers(ctx); err != nil {
		return err
	}
	if h.How == "mux-knock-flood" {
		return nil
	}
	id, err := h.offer()
	if err != nil {
		return err
	}
	conn, err := h.dial(id)
	if err != nil {
		return err
	}
	channel, err := over(ctx, conn)
	if err != nil {
		return err
	}
	defer channel.Close()
	if err := echo(ctx, channel); err != nil {
		return fmt.Errorf("brokered, to the plugin: %w", err)
	}
	if h.session == nil {
		if err := h.announceServed(own); err != nil {
			return err
		}
	}
	back, err := h.dialBack(ctx, own)
	if err == nil && (!back.Dialled || string(back.Data) != "back") {
		err = fmt.Errorf("brokered, from the plugin: %+v", back)
	}
	return err
}

func (h *host) mainAnswers(ctx context.Context) error { return echo(ctx, h.main) }

func echo(ctx context.Context, channel *grpc.ClientConn) error {
	answer, err := contracts.ProbeClient{Conn: channel}.Echo(ctx, &contracts.Payload{Data: []byte("forth")})
	if err == nil && string(answer.Data) != "forth" {
		err = errors.New("the echo differs from the request")
	}
	return err
}

// offer makes the plugin serve an id.
func (h *host) offer() (uint32, error) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	offer, err := contracts.BrokerProbeClient{Conn: h.main}.Offer(ctx, &contracts.OfferRequest{})
	if err != nil {
		return 0, err
	}
	return offer.ID, nil
}

// offered returns the socket at which the plugin serves an id.
func (h *host) offered() (string, error) {
	id, err := h.offer()
	if err != nil {
		return "", err
	}
	select {
	case address := <-h.announcement(id):
		return address, nil
	case <-time.After(patience):
		return "", errors.New("the plugin announced no address")
	}
}

// dialBack makes the plugin dial an id of the host.
func (h *host) dialBack(ctx context.Context, id uint32) (*contracts.DialBackReport, error) {
	return contracts.BrokerProbeClient{Conn: h.main}.DialBack(ctx, &contracts.DialBackRequest{ID: id, Data: []byte("back")})
}

// dial connects to an id of the plugin.
func (h *host) dial(id uint32) (net.Conn, error) {
	if h.session != nil {
		return h.session.Dial(id, patience)
	}
	select {
	case address := <-h.announcement(id):
		return net.Dial("unix", address)
	case <-time.After(patience):
		return nil, errors.New("the plugin announced no address")
	}
}

// announceServed serves the probe on a socket and announces it.
func (h *host) announceServed(id uint32) error {
	listener, err := net.Listen("unix", h.freePath())
	if err != nil {
		return err
	}
	serve(listener)
	return h.wire.Announce(id, "unix", listener.Addr().String())
}

func (h *host) freePath() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths++
	return filepath.Join(h.folder, fmt.Sprint("own", h.paths))
}

// knocked accepts the host's own id, and no other.
func (h *host) knocked(id uint32) {
	if h.onKnock != nil && h.onKnock(id) {
		return
	}
	if id == own {
		_ = h.session.Accept(id)
	}
}

// take serves the host's own id.
func (h *host) take(id uint32, stream net.Conn) {
	h.mu.Lock()
	h.taken = append(h.taken, id)
	h.mu.Unlock()
	if id != own {
		_ = stream.Close()
		return
	}
	listener := brokerwire.NewListener()
	serve(listener)
	go listener.Give(stream)
}

func serve(listener net.Listener) {
	server := grpc.NewServer()
	contracts.RegisterProbe(server, probe.New())
	go func() { _ = server.Serve(listener) }()
}

// over returns a channel over that connection only.
func over(ctx context.Context, conn net.Conn) (*grpc.ClientConn, error) {
	unused := make(chan net.Conn, 1)
	unused <- conn
	return grpc.DialContext(ctx, "unused", grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-unused:
				return conn, nil
			default:
				return nil, net.ErrClosed
			}
		}))
}

// resident returns the plugin's resident memory in KiB.
func (h *host) resident() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.plugin.Process.Pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		var size int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &size); err == nil {
			return size
		}
	}
	return 0
}

// end asks the plugin to exit, or waits if it must exit on its own, and kills it after a timeout.
func (h *host) end(byItself bool) {
	if h.plugin == nil || h.plugin.Process == nil {
		return
	}
	if h.main != nil && !byItself {
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
		_ = contracts.Shutdown(ctx, h.main)
		stop()
	}
	if h.main == nil {
		_ = h.plugin.Process.Kill()
	}
	ended := make(chan error, 1)
	go func() { ended <- h.plugin.Wait() }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = h.plugin.Process.Kill()
		<-ended
	}
	h.Exit = h.plugin.ProcessState.String()
}
