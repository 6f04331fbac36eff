//go:build !goplugin_before_1_3

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"unicode/utf8"
)

// text is bytes as JSON can carry them: as a string where they are one, else
// in base64; of more than a limit only the hash.
type text struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

func textOf(data []byte, limit int) *text {
	sum := sha256.Sum256(data)
	t := &text{Bytes: len(data), SHA256: hex.EncodeToString(sum[:])}
	switch {
	case len(data) > limit:
	case utf8.Valid(data):
		t.Text = string(data)
	default:
		t.Base64 = base64.StdEncoding.EncodeToString(data)
	}
	return t
}
