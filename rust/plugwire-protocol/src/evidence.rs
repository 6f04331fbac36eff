//! Escapes text from a peer, so that it can be printed.
//!
//! Every error of this crate carries its offending text in this form, so an error can be written to
//! a terminal or a log unchanged.

use std::borrow::Cow;
use std::fmt::Write;

/// The number of bytes of a peer's text that an error keeps.
pub const EXCERPT_LIMIT: usize = 512;

/// Returns the first [`EXCERPT_LIMIT`] bytes of a peer's text as one printable line.
///
/// Control characters, invisible characters and backslashes are escaped as in Rust source, bytes
/// that are not UTF-8 as `\xNN`. If the text was cut, the number of omitted bytes follows.
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
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if shown.len() < bytes.len() {
        let _ = write!(text, "… ({} bytes more)", bytes.len() - shown.len());
    }
    text
}

/// Returns a peer's text with everything escaped that could disturb a terminal or forge a line of a log:
/// control characters except tabs, line breaks among them, and characters that change the direction of
/// text or are not seen. Everything else stays, backslashes included, so the result cannot be read back.
///
/// Use it for a plugin's log messages, for example. It does not limit the length.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(disturbs) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match disturbs(character) {
            true => shown.extend(character.escape_debug()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

fn disturbs(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        _ => character.is_control(),
    }
}

/// Returns where to cut: at the limit, or just before it if the limit would split a character.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= EXCERPT_LIMIT {
        return bytes.len();
    }
    let starts_character = |index: &usize| bytes[*index] & 0b1100_0000 != 0b1000_0000;
    (EXCERPT_LIMIT - 3..=EXCERPT_LIMIT).rev().find(starts_character).unwrap_or(EXCERPT_LIMIT)
}

#[cfg(test)]
mod tests;
