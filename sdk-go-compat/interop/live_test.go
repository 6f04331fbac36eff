package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The releases of go-plugin are pinned, and so is everything else that their pairs are built from: what a pair has shown
// once, it shows until a source changes. proved.txt has the digest of the sources with which all of them were run last.
const provedFile = "proved.txt"

// newest is the release whose pairs run every time.
const newest = "1.8.0-newest"

// blesses: a run of everything that passes is recorded.
func blesses() bool { return os.Getenv("PLUGWIRE_BLESS") != "" }

// everything says whether all releases run, and not only the newest: in a soak, and where the sources are not those that
// were proved.
var everything = sync.OnceValue(func() bool {
	if os.Getenv("PLUGWIRE_SOAK") != "" || blesses() {
		return true
	}
	proved, err := os.ReadFile(provedFile)
	now, digestErr := digestOfSources()
	if err == nil && digestErr == nil && strings.TrimSpace(string(proved)) == now {
		return false
	}
	fmt.Fprintln(os.Stderr, "interop: the Go sources are not those of", provedFile, "so all releases run; once they pass, "+
		"record that with PLUGWIRE_BLESS=1 go test ./interop")
	return true
})

// liveVersions are the releases that run this time.
func liveVersions() []string {
	if everything() {
		return versions()
	}
	return []string{newest}
}

// onlyIfChanged skips what is proved for these sources.
func onlyIfChanged(t *testing.T) {
	t.Helper()
	if !everything() {
		t.Skip("proved for these sources, see", provedFile)
	}
}

// recordIfBlessed writes down that everything passed.
func recordIfBlessed(code int) error {
	if !blesses() || code != 0 {
		return nil
	}
	digest, err := digestOfSources()
	if err != nil {
		return err
	}
	return os.WriteFile(provedFile, []byte(digest+"\n"), 0o644)
}

// digestOfSources is that of all Go sources here, without their comments, and of the files that pin versions.
func digestOfSources() (string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := entry.Name(); {
		case entry.IsDir() && (name == "target" || name == "vectors"):
			return fs.SkipDir
		case slices.Contains([]string{".go", ".mod", ".sum", ".json"}, filepath.Ext(name)) && entry.Type().IsRegular():
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	digest := sha256.New()
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if filepath.Ext(path) == ".go" {
			content = withoutComments(content)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%s %d\n", name, len(content))
		digest.Write(content)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// withoutComments returns the tokens of a Go source. Directives such as build constraints are comments, and stay.
func withoutComments(source []byte) []byte {
	files := token.NewFileSet()
	var tokens scanner.Scanner
	tokens.Init(files.AddFile("", files.Base(), len(source)), source, nil, scanner.ScanComments)
	var kept []byte
	for {
		_, kind, text := tokens.Scan()
		if kind == token.EOF {
			return kept
		}
		if kind == token.COMMENT && !strings.HasPrefix(text, "//go:") {
			continue
		}
		// The semicolon that the scanner inserts has the text "\n".
		if kind == token.SEMICOLON {
			text = ";"
		}
		kept = fmt.Appendf(kept, "%s %s\n", kind, text)
	}
}

func TestDigestKnowsCommentsFromCode(t *testing.T) {
	digest := func(source string) string { return string(withoutComments([]byte(source))) }
	plain := "package p\n\nfunc f() int { return 1 }\n"
	if digest(plain) != digest("// Package p does it.\npackage p\n\n// f is one.\nfunc f() int { return 1 } // yes\n") {
		t.Error("a comment changes it")
	}
	if digest(plain) == digest(strings.Replace(plain, "1", "2", 1)) {
		t.Error("a number does not change it")
	}
	if digest(plain) == digest("//go:build linux\n\n"+plain) {
		t.Error("a build constraint does not change it")
	}
}
