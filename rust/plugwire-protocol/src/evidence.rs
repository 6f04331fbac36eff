//! Text that a peer sent, made fit to be shown.
//!
//! Every error of this crate carries its offending text in this form, so that an error may be
//! printed to a terminal or a log as it is.

use std::fmt::Write;

/// How many bytes of a peer's text an error keeps.
pub const EXCERPT_LIMIT: usize = 512;

/// The first [`EXCERPT_LIMIT`] bytes of a peer's text in one printable line.
///
/// Control characters, invisible characters and backslashes are escaped as Rust does, bytes that
/// are not UTF-8 as `\xNN`; what was left out is counted at the end.
pub fn excerpt(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let shown = &bytes[..cut(bytes)];
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if shown.len() < bytes.len() {
        let _ = write!(text, "… ({} bytes more)", bytes.len() - shown.len());
    }
    text
}

/// Where to cut: at the limit, or just before it where the limit would split a character.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= EXCERPT_LIMIT {
        return bytes.len();
    }
    let starts_character = |index: &usize| bytes[*index] & 0b1100_0000 != 0b1000_0000;
    (EXCERPT_LIMIT - 3..=EXCERPT_LIMIT).rev().find(starts_character).unwrap_or(EXCERPT_LIMIT)
}

#[cfg(test)]
mod tests;
