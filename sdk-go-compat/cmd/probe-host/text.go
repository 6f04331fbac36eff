//go:build !goplugin_before_1_3

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"unicode/utf8"
)

// text represents bytes in JSON: as a string if they are valid UTF-8, else in base64; beyond a
// limit only as their hash.
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
