//! The head of an HTTP/2 frame (RFC 9113, section 4.1).

use bytes::{BufMut, BytesMut};

/// The length of a head.
pub(super) const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// What a frame says about itself before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The length of the payload.
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Reads the head at the start of `bytes`, or returns `None` if it is not there whole.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            len: u32::from_be_bytes([0, *a, *b, *c]) as usize,
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes(*stream) & !(1 << 31),
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn write(self, out: &mut BytesMut) {
        out.put_uint(self.len as u64, 3);
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u32(self.stream);
    }
}

/// Returns where the header block is in the payload of a HEADERS frame, between its padding and after its
/// priority. `None` if the frame is malformed.
pub(super) fn fragment(head: Head, payload: &[u8]) -> Option<std::ops::Range<usize>> {
    let (mut start, mut end) = (0, payload.len());
    if head.has(PADDED) {
        start += 1;
        end = end.checked_sub(usize::from(*payload.first()?))?;
    }
    if head.has(PRIORITY) {
        start += 5;
    }
    (start <= end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head { len: 0x01_02_03, kind: HEADERS, flags: END_STREAM, stream: 77 };
        let mut bytes = BytesMut::new();
        head.write(&mut bytes);
        assert_eq!(Head::parse(&bytes), Some(head));
        assert_eq!(Head::parse(&bytes[..8]), None);
        // The highest bit is reserved.
        bytes[5] |= 0x80;
        assert_eq!(Head::parse(&bytes), Some(head));
    }

    #[test]
    fn a_fragment_lies_between_padding_and_priority() {
        let head = |flags| Head { len: 0, kind: HEADERS, flags, stream: 1 };
        assert_eq!(fragment(head(0), &[1, 2]), Some(0..2));
        assert_eq!(fragment(head(PADDED), &[1, 2, 0]), Some(1..2));
        assert_eq!(fragment(head(PADDED | PRIORITY), &[1, 0, 0, 0, 0, 0, 9, 0]), Some(6..7));
        assert_eq!(fragment(head(PADDED), &[3, 0, 0]), None);
        assert_eq!(fragment(head(PADDED), &[]), None);
        assert_eq!(fragment(head(PRIORITY), &[0, 0]), None);
    }
}
