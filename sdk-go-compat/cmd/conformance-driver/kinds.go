//go:build !goplugin_before_1_3

package main

import (
	"errors"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is an error in the contract's terms.
type failure struct {
	Kind    string `json:"kind"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Kind + ": " + f.Message }

// words maps a message in lower case to a kind: go-plugin's errors are texts, and their case
// changed between releases.
type words struct{ text, kind string }

// startWords is searched from the top.
var startWords = []words{
	{"timeout while waiting for plugin to start", "start.timeout"},
	{"plugin exited before we could connect", "start.exited"},
	{"failed to read any lines from plugin's stdout", "start.exited"},
	{"unrecognized remote plugin message: \nthis usually means", emptyLineKind},
	{"unrecognized remote plugin message", "start.not-a-handshake"},
	{"error parsing core protocol version", "start.core-version"},
	{"incompatible core api version", "start.core-version"},
	{"error parsing protocol version", "start.app-version"},
	{"incompatible api version", "start.app-version"},
	{"unknown address type", "start.network"},
	{"unsupported plugin protocol", "start.protocol"},
	{"unknown server protocol", "start.protocol"},
	{"error parsing server cert", "start.certificate"},
	{"grpc broker multiplexing", "start.multiplex"},
	{"reattachment process not found", "start.connect"},
}

// dialWords match a dial's own error and, with multiplexing, that of the first call.
var dialWords = []words{
	{"timeout waiting for connection info", "broker.timeout"},
	{"timeout waiting for multiplexing knock handshake", "broker.timeout"},
	{"failed to knock for id", "broker.refused"},
	{"handshake failed for multiplexing", "broker"},
	{"broker closed", "gone"},
	{"unknown address type", "broker"},
	{"authentication handshake failed", "broker"},
	{"error while dialing", "broker"},
}

func kindIn(table []words, err error) (kind string, found bool) {
	text := strings.ToLower(err.Error())
	for _, row := range table {
		if strings.Contains(text, row.text) {
			return row.kind, true
		}
	}
	return "", false
}

// startFailure classifies an error of go-plugin's start.
func startFailure(err error) *failure {
	if kind, found := kindIn(startWords, err); found {
		return &failure{Kind: kind, Message: err.Error()}
	}
	var (
		address *net.AddrError
		lookup  *net.DNSError
	)
	if errors.As(err, &address) || errors.As(err, &lookup) {
		return &failure{Kind: "start.address", Message: err.Error()}
	}
	return &failure{Kind: "start.other", Message: err.Error()}
}

// dialFailure classifies an error of a brokered connection, or else of the call on it.
func dialFailure(err error) *failure {
	if kind, found := kindIn(dialWords, err); found {
		return &failure{Kind: kind, Message: err.Error()}
	}
	if failed := failureOf(err); failed.Kind == "status" {
		return failed
	}
	return &failure{Kind: "broker", Message: err.Error()}
}

// failureOf treats an error that has no kind yet as that of a call.
func failureOf(err error) *failure {
	var failed *failure
	if errors.As(err, &failed) {
		return failed
	}
	if s, ok := status.FromError(err); ok {
		return &failure{Kind: "status", Code: codeName(s.Code()), Message: s.Message()}
	}
	return &failure{Kind: "other", Message: err.Error()}
}

// codeNames are gRPC's own names; grpc-go spells them differently.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func codeName(code codes.Code) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return "UNKNOWN"
}
