//go:build !goplugin_before_1_6

package main

import (
	"fmt"
	"os"
	"strings"
)

// beside serves, and writes meanwhile. A greeting is answered only when everything is written, so
// an answer shows that the host reads that pipe.
func (p *plugin) beside(to *os.File, text string) {
	written := make(chan struct{})
	p.greet = func() { <-written }
	p.line()
	go func() {
		n, err := to.WriteString(text)
		p.check(err)
		p.tell("written", "bytes", n)
		close(written)
	}()
	p.accept()
}

// stderr50MBLine writes a line of 50 MB to stderr, and a short one.
func stderr50MBLine(p *plugin) {
	p.beside(os.Stderr, strings.Repeat("y", 50_000_000)+"\nafter the long line\n")
}

// stderrInvalidUTF8 writes lines that are not UTF-8, as text and inside JSON.
func stderrInvalidUTF8(p *plugin) {
	p.beside(os.Stderr, "[WARN] broken \xff\xfe text\n"+
		"{\"@level\":\"info\",\"@message\":\"broken \xc3\x28 text\"}\n"+
		"after the broken lines\n")
}

// stderrMessageNotAString writes JSON whose reserved fields are not strings. A Go host crashes on
// them.
func stderrMessageNotAString(p *plugin) {
	p.beside(os.Stderr, `{"@level":"info","@message":5}`+"\n"+
		`{"@level":5,"@message":"level is a number"}`+"\n"+
		`{"@level":"info","@message":"time is a list","@timestamp":[1]}`+"\n"+
		`{"@level":"info","@message":"after the odd lines","@timestamp":"2026-01-02T03:04:05.000006Z"}`+"\n")
}

// stderrFlood writes --size bytes of lines to stderr.
func stderrFlood(p *plugin) { p.beside(os.Stderr, lines(p.size)) }

// stdoutAfterLineFlood writes --size bytes of lines to file descriptor 1 after the handshake line.
func stdoutAfterLineFlood(p *plugin) { p.beside(os.Stdout, lines(p.size)) }

func lines(size int) string {
	var all strings.Builder
	for n := 0; all.Len() < size; n++ {
		fmt.Fprintf(&all, "line %d of a flood, %s\n", n, strings.Repeat("z", n%80))
	}
	return all.String()
}
