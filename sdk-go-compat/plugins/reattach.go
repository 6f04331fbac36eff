//go:build !goplugin_before_1_3

package plugins

import (
	"encoding/json"
	"fmt"
	"net"

	goplugin "github.com/hashicorp/go-plugin"
)

// ReattachRecord is the JSON form that Terraform gave to go-plugin's reattach data.
type ReattachRecord struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            ReattachAddr
}

// ReattachAddr is a socket address in that record.
type ReattachAddr struct {
	Network string
	String  string
}

// RecordOf converts go-plugin's data to the record.
func RecordOf(config *goplugin.ReattachConfig) ReattachRecord {
	return ReattachRecord{
		Protocol:        string(config.Protocol),
		ProtocolVersion: config.ProtocolVersion,
		Pid:             config.Pid,
		Test:            config.Test,
		Addr:            ReattachAddr{Network: config.Addr.Network(), String: config.Addr.String()},
	}
}

// ParseReattach reads {"NAME": RECORD}, with exactly one name, or a bare record.
func ParseReattach(text string) (*goplugin.ReattachConfig, error) {
	var record ReattachRecord
	var named map[string]ReattachRecord
	if err := json.Unmarshal([]byte(text), &named); err == nil && len(named) == 1 {
		for _, only := range named {
			record = only
		}
	} else if err := json.Unmarshal([]byte(text), &record); err != nil {
		return nil, fmt.Errorf("reattach record: %w", err)
	}
	addr, err := resolve(record.Addr)
	if err != nil {
		return nil, err
	}
	return &goplugin.ReattachConfig{
		Protocol:        goplugin.Protocol(record.Protocol),
		ProtocolVersion: record.ProtocolVersion,
		Pid:             record.Pid,
		Test:            record.Test,
		Addr:            addr,
	}, nil
}

func resolve(addr ReattachAddr) (net.Addr, error) {
	switch addr.Network {
	case "unix":
		return net.ResolveUnixAddr("unix", addr.String)
	case "tcp":
		return net.ResolveTCPAddr("tcp", addr.String)
	}
	return nil, fmt.Errorf("reattach record: unknown network %q", addr.Network)
}
