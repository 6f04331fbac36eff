//! Escapes text from a peer, so that it can be printed.
//!
//! Every error of this crate carries its offending text in this form, so an error can be written to
//! a terminal or a log unchanged. What a peer says in a log record or a status is as it was sent: pass it
//! through [`printable`] before a terminal or a log of lines sees it.

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

/// Returns a peer's text as one line that is safe to print, whatever its length.
///
/// Control characters (line breaks among them, tabs excepted), characters that change the direction of
/// text or are invisible, and bytes that are not UTF-8 are escaped as in Rust source: `\n`, `\u{1b}`,
/// `\xff`. Backslashes stay as they are, so that ordinary text does, too.
pub fn printable<T: AsRef<[u8]> + ?Sized>(text: &T) -> Cow<'_, str> {
    let bytes = text.as_ref();
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains(is_unsafe)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match is_unsafe(character) {
                true => shown.extend(character.escape_debug()),
                false => shown.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character can drive a terminal, break a line, or hide or reorder what is around it.
fn is_unsafe(character: char) -> bool {
    match character {
        '\t' => false,
        // Arabic letter mark; zero-width space and the marks; line and paragraph separators, embeddings and
        // overrides; invisible operators and isolates; byte order mark; interlinear annotation.
        '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        other => other.is_control(),
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
