package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"github.com/plugwire/plugwire/sdk-go-compat/contracts"
)

// Hold keeps a stream open at an id of the caller, and records how it ended.
func (s *Side) Hold(_ context.Context, in *contracts.HoldRequest) (*contracts.HoldReply, error) {
	conn, err := s.Dial(in.ID)
	if err != nil {
		return nil, err
	}
	// The stream outlives this call.
	hang := &contracts.HangRequest{ID: strconv.FormatUint(uint64(in.ID), 10)}
	stream, err := contracts.ProbeClient{Conn: conn}.HangStream(context.Background(), hang)
	if err != nil {
		return nil, err
	}
	if _, err := contracts.Recv[contracts.Payload](stream); err != nil {
		return nil, err
	}
	go func() {
		_, err := contracts.Recv[contracts.Payload](stream)
		failed, _ := status.FromError(err)
		line, _ := json.Marshal(map[string]any{
			"id": in.ID, "unix_ms": time.Now().UnixMilli(),
			"code": uint32(failed.Code()), "message": failed.Message(), "causes": []string{},
		})
		if file, err := os.OpenFile(in.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = file.Write(append(line, '\n'))
			_ = file.Close()
		}
	}()
	return &contracts.HoldReply{}, nil
}

// Holdings counts the resources of this process, after a garbage collection.
func (*Side) Holdings(context.Context, *contracts.HoldingsRequest) (*contracts.HoldingsReply, error) {
	runtime.GC()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	resident, err := residentBytes()
	return &contracts.HoldingsReply{
		// Do not count the descriptor that reads the directory.
		Descriptors:   uint64(len(entries) - 1),
		Tasks:         uint64(runtime.NumGoroutine()),
		ResidentBytes: resident,
	}, err
}

func residentBytes() (uint64, error) {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, os.ErrNotExist
}
