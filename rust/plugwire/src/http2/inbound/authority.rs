//! Replaces an `:authority` that the http crate does not accept.
//!
//! gRPC's C core (Python, C++, Ruby, PHP), Java and Swift send a socket's path there, percent-encoded or
//! bare. The http crate accepts only a host and a port, so h2 resets such a call before anything here
//! sees it. Any authority is allowed, and none is looked at (GRPC-3).
//!
//! A header block can be taken apart into its fields without the state of HPACK (RFC 7541), because the
//! lengths of strings are in the block itself. An authority stands in one of them where it is new; later
//! blocks refer to it by an index. So it is enough to replace the string, by one of the same length: the
//! size of an entry decides when the table drops another one, and both sides must agree on that.

use bytes::{BufMut, BytesMut};
use httlib_huffman::DecoderSpeed;
use http::uri::Authority;

const NAME: &[u8] = b":authority";
/// Where HPACK's static table has it, with an empty value.
const STATIC_INDEX: usize = 1;
/// A longer authority is left as it is, and refused. A path of a unix socket has at most 108 bytes,
/// three times as many if each is percent-encoded.
const MAX_LEN: usize = 4096;

/// Returns the block with another authority if the http crate does not accept its own. Reads as far as
/// the block can be read.
pub(super) fn mend(block: &[u8]) -> Option<BytesMut> {
    let mut reader = Reader { block, at: 0 };
    loop {
        let start = reader.at;
        match reader.field()? {
            Field::Other => {}
            Field::EmptyAuthority => return Some(without(block, start..reader.at)),
            Field::Authority { is_kept, value_at, value } => {
                if Authority::try_from(value.as_slice()).is_ok() {
                    return None;
                }
                if value.is_empty() {
                    // In the table it has to stay, and h2 then refuses it.
                    return (!is_kept).then(|| without(block, start..reader.at));
                }
                return Some(with(block, value_at..reader.at, &acceptable(value)));
            }
        }
    }
}

fn without(block: &[u8], field: std::ops::Range<usize>) -> BytesMut {
    [&block[..field.start], &block[field.end..]].concat().as_slice().into()
}

fn with(block: &[u8], old: std::ops::Range<usize>, new: &[u8]) -> BytesMut {
    let mut mended = BytesMut::with_capacity(block.len() + new.len() + 4);
    mended.put_slice(&block[..old.start]);
    put_length(&mut mended, new.len());
    mended.put_slice(new);
    mended.put_slice(&block[old.end..]);
    mended
}

/// Keeps what a host's name may contain, so that the original can be guessed in a log.
fn acceptable(mut authority: Vec<u8>) -> Vec<u8> {
    for byte in &mut authority {
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'-' | b'_') {
            *byte = b'-';
        }
    }
    authority
}

/// Writes the length of a string that is not Huffman-coded: an integer with a prefix of 7 bits.
fn put_length(out: &mut BytesMut, len: usize) {
    let Some(mut rest) = len.checked_sub(0x7f) else {
        return out.put_u8(u8::try_from(len).expect("less than 127"));
    };
    out.put_u8(0x7f);
    while rest >= 0x80 {
        out.put_u8(0x80 | u8::try_from(rest & 0x7f).expect("seven bits"));
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).expect("seven bits"));
}

enum Field {
    /// The static table's entry.
    EmptyAuthority,
    Authority {
        /// Whether it is added to the table.
        is_kept: bool,
        /// Where its string begins, with its length.
        value_at: usize,
        value: Vec<u8>,
    },
    Other,
}

/// Reads the fields of a block. Each method returns `None` where the block ends or is malformed, which
/// h2 will notice by itself.
struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn field(&mut self) -> Option<Field> {
        let first = *self.block.get(self.at)?;
        if first & 0x80 != 0 {
            let is_authority = self.integer(7)? == STATIC_INDEX;
            return Some(if is_authority { Field::EmptyAuthority } else { Field::Other });
        }
        if first & 0xe0 == 0x20 {
            // A new size of the table.
            self.integer(5)?;
            return Some(Field::Other);
        }
        let is_kept = first & 0x40 != 0;
        let is_authority = match self.integer(if is_kept { 6 } else { 4 })? {
            0 => self.is_name()?,
            index => index == STATIC_INDEX,
        };
        let value_at = self.at;
        let (is_coded, value) = self.string()?;
        if !is_authority || value.len() > MAX_LEN {
            return Some(Field::Other);
        }
        Some(Field::Authority { is_kept, value_at, value: text(is_coded, value)? })
    }

    fn is_name(&mut self) -> Option<bool> {
        let (is_coded, name) = self.string()?;
        // No code is longer than 30 bits or shorter than 5.
        Some(name.len() <= NAME.len() && text(is_coded, name)? == NAME)
    }

    /// Returns whether a string is Huffman-coded, and its bytes.
    fn string(&mut self) -> Option<(bool, &[u8])> {
        let is_coded = *self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let end = self.at.checked_add(len)?;
        let bytes = self.block.get(self.at..end)?;
        self.at = end;
        Some((is_coded, bytes))
    }

    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(*self.block.get(self.at)? & mask);
        self.at += 1;
        if value < usize::from(mask) {
            return Some(value);
        }
        // Four bytes more are 28 bits, and no block is that long.
        for shift in [0, 7, 14, 21] {
            let byte = *self.block.get(self.at)?;
            self.at += 1;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn text(is_coded: bool, bytes: &[u8]) -> Option<Vec<u8>> {
    if !is_coded {
        return Some(bytes.to_vec());
    }
    let mut text = Vec::with_capacity(bytes.len() * 2);
    httlib_huffman::decode(bytes, &mut text, DecoderSpeed::FiveBits).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `:method: POST`, `:scheme: http`, then the authority, then a new `:path` and a header.
    fn block(authority: &[u8]) -> Vec<u8> {
        let mut block = vec![0x83, 0x86];
        block.extend_from_slice(authority);
        block.extend_from_slice(b"\x44\x04/a/b\x00\x02te\x08trailers");
        block
    }

    fn string(text: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_length(&mut out, text.len());
        [&out[..], text].concat()
    }

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut code = Vec::new();
        httlib_huffman::encode(text, &mut code).expect("it can be coded");
        let mut out = BytesMut::new();
        put_length(&mut out, code.len());
        out[0] |= 0x80;
        [&out[..], &code].concat()
    }

    /// The new block, field by field, as h2 would see it.
    fn mended(authority: &[u8]) -> Option<Vec<u8>> {
        mend(&block(authority)).map(|mended| mended.to_vec())
    }

    #[test]
    fn an_authority_that_http_accepts_is_kept() {
        for value in ["unused", "localhost:50051", "[::1]:80", "%41@b"] {
            assert_eq!(mended(&[&[0x41][..], &string(value.as_bytes())].concat()), None, "{value}");
            assert_eq!(mended(&[&[0x41][..], &coded(value.as_bytes())].concat()), None, "{value}");
        }
        assert_eq!(mended(b""), None, "none at all");
        assert_eq!(mended(&[0xbe]), None, "an index of the table");
    }

    #[test]
    fn another_one_is_replaced_by_one_of_the_same_length() {
        let long = format!("/tmp/{}", "x".repeat(300));
        for value in ["/tmp/plugin-1", "%2Ftmp%2Fplugin-1", "a b", "\u{fc}", "[", "a:b:c", &long] {
            let new = acceptable(value.as_bytes().to_vec());
            assert!(Authority::try_from(new.as_slice()).is_ok(), "{value}");
            assert_eq!(new.len(), value.len());
            let name = b":authority";
            for kind in [
                &[0x41][..],
                &[0x01],
                &[0x11],
                &[&[0x40][..], &string(name)].concat(),
                &[&[0x00][..], &coded(name)].concat(),
            ] {
                let expected = block(&[kind, &string(&new)].concat());
                for old in [string(value.as_bytes()), coded(value.as_bytes())] {
                    let mended = mended(&[kind, &old].concat());
                    assert_eq!(mended.as_deref(), Some(&expected[..]), "{value} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn an_empty_one_is_left_out_where_the_table_allows_it() {
        for field in [&[0x81][..], &[0x01, 0], &[0x11, 0]] {
            assert_eq!(mended(field), Some(block(b"")), "{field:?}");
        }
        assert_eq!(mended(&[0x41, 0]), None);
    }

    #[test]
    fn what_cannot_be_read_is_left_to_h2() {
        let whole = block(&[&[0x41][..], &string(b"/tmp/plugin")].concat());
        for len in 0..15 {
            assert_eq!(mend(&whole[..len]), None, "{len}");
        }
        assert_eq!(mend(&[0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None, "an endless integer");
        assert_eq!(mend(&[0x41, 0x84, 0xff, 0xff, 0xff, 0xff]), None, "no Huffman code");
    }

    proptest::proptest! {
        #[test]
        fn no_block_makes_it_panic(block: Vec<u8>) {
            let _ = mend(&block);
        }
    }
}
