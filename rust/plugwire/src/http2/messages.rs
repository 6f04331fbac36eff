//! Hands out gRPC messages once they are there.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A flag and a length.
const PREFIX: usize = 5;
/// Smaller pieces are copied into one: a peer that sends single bytes must not cost a `Bytes` for each.
const SMALL: usize = 2048;

/// Holds back the beginning of a message until its end has arrived. tonic reserves the length that a
/// message's first five bytes announce, up to 4 GiB, and an allocation that fails ends the process.
#[derive(Default)]
pub(super) struct Messages {
    /// The beginning of a message, shorter than a prefix.
    prefix: BytesMut,
    /// How much of the message is still to come.
    missing: usize,
    /// What has arrived of it.
    held: VecDeque<Bytes>,
    /// The end of what has arrived, if it came in small pieces.
    small: BytesMut,
    /// Whole messages.
    ready: VecDeque<Bytes>,
}

impl Messages {
    /// Takes data as it arrives.
    pub(super) fn push(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            if self.missing > 0 {
                self.hold(&mut data);
            } else if self.prefix.is_empty() && data.len() >= PREFIX {
                let whole = whole(&data);
                if whole > 0 {
                    self.ready.push_back(data.split_to(whole));
                }
                // What follows is the beginning of a message.
                if data.len() >= PREFIX {
                    self.begin(data.split_to(PREFIX));
                }
            } else {
                let rest = (PREFIX - self.prefix.len()).min(data.len());
                self.prefix.extend_from_slice(&data.split_to(rest));
                if self.prefix.len() == PREFIX {
                    let prefix = self.prefix.split().freeze();
                    self.begin(prefix);
                }
            }
        }
    }

    fn begin(&mut self, prefix: Bytes) {
        self.missing = announced(&prefix);
        self.small.extend_from_slice(&prefix);
        self.finish_if_whole();
    }

    fn hold(&mut self, data: &mut Bytes) {
        let piece = data.split_to(self.missing.min(data.len()));
        self.missing -= piece.len();
        if piece.len() < SMALL {
            self.small.extend_from_slice(&piece);
        } else {
            self.hold_small();
            self.held.push_back(piece);
        }
        self.finish_if_whole();
    }

    fn hold_small(&mut self) {
        if !self.small.is_empty() {
            self.held.push_back(self.small.split().freeze());
        }
    }

    fn finish_if_whole(&mut self) {
        if self.missing == 0 {
            self.hold_small();
            self.ready.append(&mut self.held);
        }
    }

    /// Returns the next piece of a whole message.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Returns whether there is nothing to hand out, and nothing that would become it.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && !self.is_partial()
    }

    /// Returns whether a message has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        self.missing > 0 || !self.prefix.is_empty()
    }
}

/// Returns how many bytes at the start of `data` are whole messages.
fn whole(data: &Bytes) -> usize {
    let mut at = 0;
    while let Some(prefix) = data.get(at..at + PREFIX) {
        let end = at + PREFIX + announced(prefix);
        if end > data.len() {
            break;
        }
        at = end;
    }
    at
}

fn announced(mut prefix: &[u8]) -> usize {
    prefix.advance(1);
    prefix.get_u32() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        let announced = u32::try_from(len).expect("a short one").to_be_bytes();
        [&[0][..], &announced, &vec![7; len]].concat()
    }

    fn popped(messages: &mut Messages) -> Vec<u8> {
        std::iter::from_fn(|| messages.pop()).flatten().collect()
    }

    #[test]
    fn whole_messages_pass_as_they_are() {
        let data = Bytes::from([message(3), message(0), message(5000)].concat());
        let mut messages = Messages::default();
        messages.push(data.clone());
        assert_eq!(messages.pop().map(|piece| piece.as_ptr()), Some(data.as_ptr()), "no copy");
        assert!(messages.pop().is_none() && !messages.is_partial());
    }

    #[test]
    fn a_message_is_held_until_it_is_whole() {
        let all = [message(3), message(10_000), message(0), message(7)].concat();
        for size in [1, 2, 4, 5, 6, 100, 3000, 9000] {
            let mut messages = Messages::default();
            let mut out = Vec::new();
            for piece in all.chunks(size) {
                messages.push(Bytes::copy_from_slice(piece));
                out.extend(popped(&mut messages));
                assert!(messages.held.len() <= 2 + 10_000 / SMALL, "{size}");
                // It ends where a message does.
                assert_eq!(whole(&Bytes::from(out.clone())), out.len(), "{size}");
            }
            assert_eq!(out, all, "{size}");
            assert!(!messages.is_partial());
        }
    }

    #[test]
    fn an_announcement_is_no_message() {
        let mut messages = Messages::default();
        messages.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert!(messages.pop().is_none() && messages.is_partial());
        messages.push(Bytes::from_static(&[1; 100]));
        assert!(messages.pop().is_none() && messages.is_partial());
    }

    #[test]
    fn half_a_prefix_is_partial() {
        let mut messages = Messages::default();
        messages.push(Bytes::from_static(&[0, 0]));
        assert!(messages.pop().is_none() && messages.is_partial());
        messages.push(Bytes::from_static(&[0, 0, 1, 9]));
        assert_eq!(popped(&mut messages), [0, 0, 0, 0, 1, 9]);
    }
}
