//go:build !goplugin_before_1_3

package main

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
	"github.com/plugwire/plugwire/sdk-go-compat/probe"
	"github.com/plugwire/plugwire/sdk-go-compat/record"
)

type stdioReport struct {
	Print  *failure `json:"print_error,omitempty"`
	Stdout *channel `json:"stdout"`
	Stderr *channel `json:"stderr"`
	Ms     float64  `json:"ms"`
}

type channel struct {
	*text
	Complete bool `json:"complete"`
	Intact   bool `json:"intact"`
}

// stdio: the plugin's output reaches SyncStdout and SyncStderr. --size bytes each, by default one
// line.
func stdio(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	toStdout, toStderr := []byte("printed to stdout\n"), []byte("printed to stderr\n")
	if s.size > 0 {
		toStdout, toStderr = probe.Pattern(0, s.size), probe.Pattern(128, s.size)
	}
	began := time.Now()
	_, err = client.Print(ctx, &contracts.PrintRequest{Stdout: toStdout, Stderr: toStderr})
	seen := &stdioReport{Print: failureOf(err)}
	patient, stop := context.WithTimeout(ctx, s.patience)
	defer stop()
	seen.Stdout = awaitChannel(patient, s.stdout, toStdout)
	if s.stderrPatience > 0 {
		short, end := context.WithTimeout(ctx, s.stderrPatience)
		defer end()
		patient = short
	}
	seen.Stderr = awaitChannel(patient, s.stderr, toStderr)
	seen.Ms = ms(began)
	return seen, nil
}

// awaitChannel waits for all of the output.
func awaitChannel(ctx context.Context, from *record.Buffer, sent []byte) *channel {
	complete := from.Await(ctx, uint64(len(sent)))
	written := from.Bytes()
	return &channel{
		text:     textOf(written, 4096),
		Complete: complete,
		Intact:   bytes.Equal(written, sent),
	}
}

// logs: what the plugin (with --logs) wrote to the real stderr, as it appears in the host's log.
func logs(ctx context.Context, s *session) (any, error) {
	client, err := s.probe()
	if err != nil {
		return nil, err
	}
	if _, err := client.Echo(ctx, &contracts.Payload{}); err != nil {
		return nil, err
	}
	s.kill() // reads stderr to its end
	fromPlugin := []record.Entry{}
	for _, line := range s.log.All() {
		if strings.Contains(line.Name, ".") && !strings.HasSuffix(line.Name, ".stdio") {
			fromPlugin = append(fromPlugin, line)
		}
	}
	return map[string]any{"entries": fromPlugin}, nil
}
