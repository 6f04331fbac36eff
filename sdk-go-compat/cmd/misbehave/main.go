//go:build !goplugin_before_1_6

// misbehave is a greeter plugin without go-plugin, which does one thing wrong on request and
// records in a witness file what it really did. It does not check the cookie.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// misbehaviours lists all misbehaviours; each is described at its function.
var misbehaviours = map[string]func(*plugin){
	"nothing": nothing,

	"exits-before-line": exitsBeforeLine,
	"half-line":         halfLine,
	"no-line":           noLine,
	"endless-line":      endlessLine,
	"binary-noise":      binaryNoise,
	"noise-then-line":   noiseThenLine,
	"three-fields":      threeFields,
	"four-fields":       fourFields,
	"core-2":            field(0, "2"),
	"app-version-99":    field(1, "99"),
	"network-udp":       field(2, "udp"),
	"netrpc":            field(4, "netrpc"),
	"unknown-protocol":  field(4, "carrier-pigeon"),
	"mux-false":         field(6, "false"),
	"mux-not-a-bool":    field(6, "perhaps"),

	"long-socket-path":     longSocketPath,
	"missing-socket":       missingSocket,
	"listens-late":         listensLate,
	"accepts-then-closes":  acceptsThenCloses,
	"garbage-after-accept": garbageAfterAccept,

	"cert-not-base64":            certNotBase64,
	"cert-padded":                certPadded,
	"cert-not-a-certificate":     certNotACertificate,
	"cert-of-another-key":        certOfAnotherKey,
	"cert-replayed":              certReplayed,
	"plaintext-but-asked-tls":    plaintextButAskedTLS,
	"cert-but-plaintext-server":  certButPlaintextServer,
	"tls-server-no-cert-in-line": tlsServerNoCertInLine,
	"no-alpn":                    noALPN,
	"no-client-auth":             noClientAuth,

	"stderr-50mb-line":            stderr50MBLine,
	"stderr-invalid-utf8":         stderrInvalidUTF8,
	"stderr-message-not-a-string": stderrMessageNotAString,
	"stderr-flood":                stderrFlood,
	"stdout-after-line-flood":     stdoutAfterLineFlood,

	"die-during-call":        dieDuringCall,
	"health-not-serving":     healthNotServing,
	"no-stdio-service":       noStdioService,
	"shutdown-hangs":         shutdownHangs,
	"ignores-sigterm":        ignoresSIGTERM,
	"deaf":                   deaf,
	"grandchild-holds-pipes": grandchildHoldsPipes,

	"announces":        announces,
	"announces-served": announcesServed,
	"announces-links":  announcesLinks,
	"announces-twice":  announcesTwice,
	"announces-many":   announcesMany,
	"brokered-silent":  brokeredSilent,
	"brokered-closes":  brokeredCloses,

	"mux":               mux,
	"mux-ack-error":     muxAckError,
	"mux-ack-late":      muxAckLate,
	"mux-ack-other":     muxAckOther,
	"mux-ack-flood":     muxAckFlood,
	"mux-knock-flood":   muxKnockFlood,
	"mux-knock-nobody":  muxKnockNobody,
	"mux-bad-version":   muxBadVersion,
	"mux-bad-type":      muxBadType,
	"mux-huge-frame":    muxHugeFrame,
	"mux-ends":          muxEnds,
	"mux-streams":       muxStreams,
	"mux-knock-streams": muxKnockStreams,
	"mux-silent":        muxSilent,
	"mux-closes":        muxCloses,
}

func main() {
	how := flag.String("how", os.Getenv("MISBEHAVE_HOW"), "what to do wrong: a name of --list, some with :ARGUMENT")
	witness := flag.String("witness", os.Getenv("MISBEHAVE_WITNESS"), "file to which a JSON line is appended for each event")
	life := flag.Duration("life", 2*time.Minute, "exit after this time, so that no test leaves the process behind")
	size := flag.Int("size", 4<<20, "bytes of a flood")
	delay := flag.Duration("delay", 300*time.Millisecond, "the delay of listens-late and mux-ack-late")
	child := flag.Bool("child", false, "keep running without doing anything: the grandchild of grandchild-holds-pipes")
	list := flag.Bool("list", false, "print all names")
	flag.Parse()

	time.AfterFunc(*life, func() { os.Exit(99) })
	if *child {
		select {}
	}
	if *list {
		for _, name := range names() {
			fmt.Println(name)
		}
		return
	}
	name, argument, _ := strings.Cut(*how, ":")
	run, ok := misbehaviours[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "misbehave: --how must be one of %s\n", strings.Join(names(), " "))
		os.Exit(2)
	}
	p := &plugin{how: name, argument: argument, witness: *witness, size: *size, delay: *delay}
	p.prepare()
	run(p)
}

func names() []string {
	var all []string
	for name := range misbehaviours {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
