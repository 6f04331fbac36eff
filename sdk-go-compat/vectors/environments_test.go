//go:build !goplugin_before_1_6

package vectors

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/plugwire/plugwire/sdk-go-compat/certs"
)

type negotiationCase struct {
	about
	Own     []int
	Offered *string
	Chosen  int
	Skipped []string
}

func TestNegotiations(t *testing.T) {
	cases := vectors[negotiationCase](t, "negotiations", 19)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := checkNegotiation(t, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("another answer fails", func(t *testing.T) {
		c := cases[0]
		c.Chosen++
		if checkNegotiation(t, c) == nil {
			t.Error("a wrong answer is accepted")
		}
	})
}

func checkNegotiation(t *testing.T, c negotiationCase) error {
	environment := map[string]string{"EXAMPLE_PLUGIN": "hello"}
	if c.Offered != nil {
		environment["PLUGIN_PROTOCOL_VERSIONS"] = *c.Offered
	}
	plugin, err := serve(t, served{"EXAMPLE_PLUGIN", "hello", c.Own}, folder(t), environment)
	if err != nil {
		return err
	}
	plugin.end()
	if plugin.fields[1] != strconv.Itoa(c.Chosen) {
		return wrong("the plugin chose %s, want %d", plugin.fields[1], c.Chosen)
	}
	if c.Skipped == nil {
		return nil
	}
	var said, want strings.Builder
	for _, line := range strings.Split(plugin.stderr.String(), "server sent ")[1:] {
		said.WriteString(line[:strings.LastIndex(line, `"`)+1])
	}
	for _, skipped := range c.Skipped {
		fmt.Fprintf(&want, "invalid plugin version %q", skipped)
	}
	if !strings.HasPrefix(said.String(), want.String()) || (want.Len() == 0 && said.Len() > 0) {
		return wrong("the plugin skipped %q, want %q", said.String(), want.String())
	}
	return nil
}

type environmentCase struct {
	about
	Role   string
	Config struct {
		Cookie            struct{ Key, Value string }
		Versions          []int
		Ports             struct{ Min, Max uint }
		Multiplex         bool
		ClientCertificate string `json:"client_certificate"`
		SocketGroup       string `json:"socket_group"`
		SocketDir         string `json:"socket_dir"`
		Inherited         map[string]string
	}
	Set    map[string]string
	Absent []string

	Cookie      struct{ Key, Value string }
	Environment map[string]string
	Concludes   *struct {
		MultiplexField bool   `json:"multiplex_field"`
		Multiplex      bool   `json:"multiplex"`
		MutualTLS      bool   `json:"mutual_tls"`
		SocketDir      string `json:"socket_dir"`
		SocketGroup    string `json:"socket_group"`
	}
	Refuses  string
	GoPlugin string `json:"go_plugin"`
}

func TestEnvironments(t *testing.T) {
	ran := map[string]int{}
	cases := vectors[environmentCase](t, "environments", 37)
	check := map[string]func(*testing.T, environmentCase) error{"host": checkHost, "plugin": checkPlugin}
	for _, c := range cases {
		ran[c.Role]++
		t.Run(c.Name, func(t *testing.T) {
			if err := check[c.Role](t, c); err != nil {
				t.Error(err)
			}
		})
	}
	if ran["host"] < 9 || ran["plugin"] < 28 {
		t.Errorf("ran %v", ran)
	}
	t.Run("another answer fails", func(t *testing.T) {
		for _, c := range cases {
			switch c.Name {
			case "host-defaults":
				c.Set = map[string]string{"PLUGIN_MIN_PORT": "1"}
			case "plugin-multiplex-false":
				c.Concludes.Multiplex = true
			case "plugin-mutual-tls":
				c.Concludes.MutualTLS = false
			case "plugin-no-cookie":
				c.Refuses = "misconfigured"
			default:
				continue
			}
			if check[c.Role](t, c) == nil {
				t.Errorf("%s: a wrong answer is accepted", c.Name)
			}
		}
	})
}

func checkHost(t *testing.T, c environmentCase) error {
	for name, value := range c.Config.Inherited {
		t.Setenv(name, value)
	}
	line := fmt.Sprintf("1|%d|unix|/tmp/plugin1|grpc|", c.Config.Versions[0])
	if c.Config.Multiplex {
		line += "|true"
	}
	s := start(t, []byte(line+"\n"), func(config *goplugin.ClientConfig) {
		config.MagicCookieKey, config.MagicCookieValue = c.Config.Cookie.Key, c.Config.Cookie.Value
		config.VersionedPlugins = pluginSets(c.Config.Versions)
		config.MinPort, config.MaxPort = c.Config.Ports.Min, c.Config.Ports.Max
		config.GRPCBrokerMultiplex = c.Config.Multiplex
		config.AutoMTLS = c.Config.ClientCertificate != ""
		config.UnixSocketConfig = &goplugin.UnixSocketConfig{Group: c.Config.SocketGroup, TempDir: c.Config.SocketDir}
	})
	if s.err != nil {
		return s.err
	}
	got := map[string]string{}
	var environ []string
	must(json.Unmarshal(mustRead(filepath.Join(folderOf(s), "environ")), &environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		got[name] = value
	}
	deviation, which, _ := strings.Cut(c.GoPlugin, ": ")
	for name, want := range c.Set {
		_, present := got[name]
		switch {
		case deviation == "absent" && name == which:
			if present {
				return wrong("%s is set, but go_plugin says that it is not", name)
			}
		case !present:
			return wrong("%s is not set", name)
		case name == "PLUGIN_PROTOCOL_VERSIONS":
			if !slices.Equal(sorted(got[name]), sorted(want)) {
				return wrong("%s is %s, want %s in any order", name, got[name], want)
			}
		case name == "PLUGIN_CLIENT_CERT":
			block, rest := pem.Decode([]byte(got[name]))
			if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
				return wrong("%s is not one block: %q", name, got[name])
			}
		case got[name] != want:
			return wrong("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, name := range c.Absent {
		if _, present := got[name]; present != (deviation == "inherited" && name == which) {
			return wrong("%s is set: %v", name, present)
		}
	}
	return nil
}

func sorted(list string) []string {
	entries := strings.Split(list, ",")
	slices.Sort(entries)
	return entries
}

func checkPlugin(t *testing.T, c environmentCase) error {
	dir := folder(t)
	group := strconv.Itoa(os.Getgid())
	environment := map[string]string{}
	for name, value := range c.Environment {
		environment[name] = strings.NewReplacer("$DIR", dir, "$GID", group).Replace(value)
	}
	plugin, err := serve(t, served{c.Cookie.Key, c.Cookie.Value, []int{1}}, dir, environment)
	if c.Refuses == "cookie" || c.Refuses == "misconfigured" {
		return checkRefusal(plugin, c.Refuses)
	}
	if err != nil {
		return err
	}
	if c.Refuses != "" {
		if c.GoPlugin != "serves nobody" {
			return wrong("a Go plugin printed a line: %q", plugin.fields)
		}
		return checkServesNobody(plugin)
	}
	if got := len(plugin.fields) == 7 && plugin.fields[6] == "true"; got != c.Concludes.MultiplexField || len(plugin.fields) < 6 {
		return wrong("fields %q, a seventh is wanted: %v", plugin.fields, c.Concludes.MultiplexField)
	}
	if got := len(plugin.fields[5]) > 50; got != c.Concludes.MutualTLS {
		return wrong("certificate %q, one is wanted: %v", plugin.fields[5], c.Concludes.MutualTLS)
	}
	if c.Concludes.SocketDir != "" && filepath.Dir(plugin.fields[3]) != dir {
		return wrong("the socket %s is not in %s", plugin.fields[3], dir)
	}
	info, err := os.Stat(plugin.fields[3])
	if err != nil {
		return err
	}
	shared := info.Mode().Perm() == 0o660 && strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid)) == group
	if c.Concludes.SocketGroup != "" && !shared {
		return wrong("the socket's mode is %v", info.Mode())
	}
	if c.Concludes.MutualTLS {
		return nil
	}
	multiplexed, err := answersPing(plugin.fields[3])
	if err == nil && multiplexed != c.Concludes.Multiplex {
		err = wrong("the plugin multiplexes: %v", multiplexed)
	}
	return err
}

func checkRefusal(plugin *running, why string) error {
	says := map[string]string{"cookie": "This binary is a plugin.", "misconfigured": "Misconfigured ServeConfig"}
	if plugin.fields != nil || plugin.command.ProcessState.ExitCode() != 1 {
		return wrong("the plugin printed %q and exited: %v", plugin.fields, plugin.command.ProcessState)
	}
	if !strings.HasPrefix(plugin.stderr.String(), says[why]) {
		return wrong("the plugin printed %q", plugin.stderr)
	}
	return nil
}

// checkServesNobody connects with a certificate, which a plugin that could not read its host's
// certificate must reject.
func checkServesNobody(plugin *running) error {
	mine, err := certs.New()
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", plugin.fields[3])
	if err != nil {
		return err
	}
	defer conn.Close()
	must(conn.SetDeadline(time.Now().Add(patience)))
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine.TLS()}, NextProtos: []string{"h2"}})
	if err := secured.Handshake(); err == nil {
		_, err = secured.Read(make([]byte, 1))
		if err == nil || os.IsTimeout(err) {
			return wrong("the plugin serves any host: %v", err)
		}
	}
	plugin.end()
	if !strings.Contains(plugin.stderr.String(), "client cert provided but failed to parse") {
		return wrong("the plugin printed %q", plugin.stderr)
	}
	return nil
}

// answersPing finds out with a yamux frame whether a plugin multiplexes: a multiplexing plugin
// answers with a ping, any other with HTTP/2's SETTINGS.
func answersPing(path string) (bool, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	must(conn.SetDeadline(time.Now().Add(patience)))
	ping, _ := hex.DecodeString("00020001000000000000002a")
	if _, err := conn.Write(ping); err != nil {
		return false, err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return false, err
	}
	if bytes.Equal(answer, []byte{0, 2, 0, 2}) {
		return true, nil
	}
	if answer[3] != 4 {
		return false, wrong("neither yamux nor HTTP/2: %x", answer)
	}
	return false, nil
}
