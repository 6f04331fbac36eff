use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{CONTINUATION, END_STREAM, PADDED, PRIORITY};
use super::*;
use crate::http2::memory::{Memory, OpenCall};

const SERVER_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: u8 = 6;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out, kind, flags, stream, payload);
    out.to_vec()
}

/// A POST to `/a/b` with these fields, whose strings are not Huffman-coded.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x44, 4];
    block.extend_from_slice(b"/a/b");
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, text: &str) {
    let Some(mut rest) = text.len().checked_sub(0x7f) else {
        block.push(u8::try_from(text.len()).expect("it is short"));
        return block.extend_from_slice(text.as_bytes());
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(0x80 | u8::try_from(rest & 0x7f).expect("seven bits"));
        rest >>= 7;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
    block.extend_from_slice(text.as_bytes());
}

/// A block in frames of 16 KiB, as grpc-go writes it.
fn in_frames(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let pieces: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let (kind, mut flags) = if at == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
        if at + 1 == pieces.len() {
            flags |= END_HEADERS;
        }
        out.extend(frame(kind, flags, stream, piece));
    }
    out
}

/// What h2 would read, if the bytes come in pieces of this size.
async fn passed(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let (theirs, ours) = tokio::io::duplex(size);
    let mut inbound = Inbound::serving(Box::new(ours), &Http2::default(), Ledger::new(plenty()));
    let sent = [SERVER_PREFACE, bytes].concat();
    let send = async {
        let mut theirs = theirs;
        // Fails once the other side has given up.
        let _ = theirs.write_all(&sent).await;
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(send, inbound.read_to_end(&mut read));
    result?;
    Ok(read.split_off(SERVER_PREFACE.len()))
}

/// A server's end of a connection.
struct Accepting {
    connection: h2::server::Connection<Inbound, Bytes>,
    turn: Turn,
    ledger: Ledger,
    theirs: tokio::io::DuplexStream,
}

impl Accepting {
    /// These bytes come.
    async fn new(bytes: &[u8], memory: Memory) -> Self {
        let (mut theirs, ours) = tokio::io::duplex(64 << 20);
        let hello = [SERVER_PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        theirs.write_all(&hello).await.expect("there is room");
        theirs.write_all(bytes).await.expect("there is room");
        let http2 = Http2::default();
        let ledger = Ledger::new(memory);
        let io = Inbound::serving(Box::new(ours), &http2, ledger.clone());
        let turn = io.turn();
        let connection = http2.server().handshake(io).await.expect("HTTP/2");
        Self { connection, turn, ledger, theirs }
    }

    async fn next(&mut self) -> Result<Request<RecvStream>, h2::Error> {
        let accepted = poll_fn(|cx| {
            let accepted = self.connection.poll_accept(cx);
            if accepted.is_pending() {
                self.turn.renew();
            }
            accepted
        });
        accepted.await.expect("a call, or an error").map(|(request, _)| request)
    }
}

fn plenty() -> Memory {
    Memory::new(1 << 30)
}

#[tokio::test]
async fn frames_that_need_nothing_pass_as_they_are() {
    let bytes = [
        frame(SETTINGS, 0, 0, &[0, 6, 0, 0, 0, 9]),
        frame(HEADERS, END_HEADERS, 1, &request(&[])),
        frame(
            HEADERS,
            END_HEADERS | PADDED | PRIORITY,
            3,
            &[&[1, 0, 0, 0, 0, 9][..], &request(&[]), &[0]].concat(),
        ),
        frame(DATA, END_STREAM, 1, &[7; 40_000]),
        frame(PING, 0, 0, &[0; 8]),
        frame(HEADERS, END_HEADERS | PADDED, 5, &[9]),
        frame(0xfa, 0, 77, b"unknown"),
    ]
    .concat();
    for size in [1, 7, 100, 1 << 20] {
        assert!(passed(&bytes, size).await.expect("no error") == bytes, "{size}");
    }
    // What is cut off passes, too.
    for len in [1, 8, 9, 20, bytes.len() - 1] {
        assert!(passed(&bytes[..len], 100).await.expect("no error") == bytes[..len], "{len}");
    }
}

#[tokio::test]
async fn any_authority_is_a_call() {
    for authority in ["/tmp/plugin-1", "%2Ftmp%2Fplugin", "[", "localhost:80", "ü"] {
        let mut block = request(&[]);
        block.push(0x41);
        string(&mut block, authority);
        // The second call refers to the first one's fields.
        let bytes = [
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x83, 0x86, 0xbf, 0xbe]),
        ];
        let mut server = Accepting::new(&bytes.concat(), plenty()).await;
        for _ in 0..2 {
            let request = server.next().await.expect(authority);
            assert_eq!(request.uri().path(), "/a/b");
            let seen = request.uri().authority().map(|seen| seen.as_str().len());
            assert_eq!(seen, Some(authority.len()), "{authority}");
        }
    }
}

#[tokio::test]
async fn headers_in_many_frames_are_a_call() {
    // h2 by itself accepts some twenty frames.
    let long = "x".repeat(15 << 20);
    let mut block = vec![0x41];
    string(&mut block, "/tmp/plugin-1");
    block.extend(request(&[("a", &long)]));
    let bytes = in_frames(1, END_STREAM, &block);
    let mut server = Accepting::new(&bytes, plenty()).await;
    let request = server.next().await.expect("a call");
    assert_eq!(request.headers()["a"].len(), long.len());
}

/// The next call on the connection works.
#[tokio::test]
async fn headers_over_the_limit_fail_their_call_alone() {
    let long = "x".repeat(17 << 20);
    let bytes = [
        in_frames(1, END_STREAM, &request(&[("a", &long)])),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &request(&[("b", "c")])),
    ];
    let mut server = Accepting::new(&bytes.concat(), plenty()).await;
    let request = server.next().await.expect("the second call");
    assert_eq!(request.headers()["b"], "c");
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let empty = frame(CONTINUATION, 0, 1, &[]);
    let bytes = [frame(HEADERS, 0, 1, &[0x83]), empty.repeat(20_000)].concat();
    let error = passed(&bytes, 1 << 20).await.expect_err("too many");
    assert!(error.to_string().contains("too many frames"), "{error}");
}

#[tokio::test]
async fn nothing_comes_in_the_middle_of_headers() {
    for other in [
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, 1, &[1]),
        frame(HEADERS, END_HEADERS, 3, &request(&[])),
        frame(CONTINUATION, END_HEADERS, 3, &[]),
    ] {
        let bytes = [frame(HEADERS, 0, 1, &[0x83]), other].concat();
        let error = passed(&bytes, 1 << 20).await.expect_err("it is malformed");
        assert!(error.to_string().contains("in the middle of headers"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_read_counts() {
    let memory = Memory::new(1 << 20);
    let bytes = [
        frame(HEADERS, END_HEADERS, 1, &request(&[])),
        frame(DATA, 0, 1, &[7; 10_000]),
        frame(DATA, 0, 1, &[]),
    ];
    let mut server = Accepting::new(&bytes.concat(), memory.clone()).await;
    let request = server.next().await.expect("a call");
    let call = OpenCall::new(server.ledger.clone(), request.body().stream_id().as_u32());
    assert!(memory.used() > 10_000 && memory.used() < 20_000, "{}", memory.used());
    let more = frame(DATA, 0, 1, &[0; 16_000]).repeat(70);
    server.theirs.write_all(&more).await.expect("there is room");
    server.next().await.expect_err("over the limit");
    drop((request, call, server));
    assert_eq!(memory.used(), 0);
}

/// A call that the peer takes back before it was looked at gives its share back.
#[tokio::test]
async fn a_reset_gives_back() {
    let memory = Memory::new(1 << 20);
    let bytes: Vec<u8> = (0..1000)
        .flat_map(|call| {
            let stream = 2 * call + 1;
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_HEADERS, stream, &request(&[])), reset].concat()
        })
        .chain(frame(HEADERS, END_HEADERS | END_STREAM, 5001, &request(&[("a", "last")])))
        .collect();
    let mut server = Accepting::new(&bytes, memory.clone()).await;
    loop {
        let request = server.next().await.expect("the connection goes on");
        if request.headers().contains_key("a") {
            break;
        }
    }
    assert!(memory.used() < 10_000, "{}", memory.used());
}

/// h2 reads what is there before it hands out a call.
#[tokio::test]
async fn a_peer_opens_no_more_calls_than_are_taken() {
    let bytes: Vec<u8> = (0..9000)
        .flat_map(|call| frame(HEADERS, END_HEADERS, 2 * call + 1, &request(&[])))
        .collect();
    let memory = plenty();
    let mut server = Accepting::new(&bytes, memory.clone()).await;
    let first = server.next().await.expect("a call");
    // Those that were in the buffer when the turn was over came, too.
    assert!(memory.used() < 3000 * 4096, "{}", memory.used());
    drop(first);
    for _ in 1..9000 {
        server.next().await.expect("a call");
    }
}
