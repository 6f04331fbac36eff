use proptest::prelude::*;

use std::borrow::Cow;

use super::{EXCERPT_LIMIT, excerpt, printable};

#[test]
fn ordinary_text_stays_as_it_is() {
    assert_eq!(
        excerpt("1|1|unix|/tmp/it's a \"plugin\" – größer|grpc|"),
        "1|1|unix|/tmp/it's a \"plugin\" – größer|grpc|"
    );
}

#[test]
fn what_could_disturb_a_terminal_is_escaped() {
    assert_eq!(excerpt("\x1b[2J\r\n\t\0"), "\\u{1b}[2J\\r\\n\\t\\0");
    // C1 control, right-to-left override, zero-width space.
    assert_eq!(excerpt("\u{9b}\u{202e}\u{200b}"), "\\u{9b}\\u{202e}\\u{200b}");
    assert_eq!(excerpt(b"ab\xff\xc3"), "ab\\xff\\xc3");
}

#[test]
fn an_escape_cannot_be_forged() {
    assert_eq!(excerpt("\\n"), "\\\\n");
}

#[test]
fn long_text_is_cut_and_counted() {
    let exact = "x".repeat(EXCERPT_LIMIT);
    assert_eq!(excerpt(&exact), exact);
    assert_eq!(excerpt(format!("{exact}yz")), format!("{exact}… (2 bytes more)"));
}

#[test]
fn the_cut_does_not_split_a_character() {
    let text = format!("{}ä", "x".repeat(EXCERPT_LIMIT - 1));
    assert_eq!(excerpt(&text), format!("{}… (2 bytes more)", "x".repeat(EXCERPT_LIMIT - 1)));
}

#[test]
fn a_message_keeps_its_words_and_its_line() {
    for text in ["größer\t\"a\\b\"", "नमस्ते", "e\u{301}"] {
        assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
    }
    assert_eq!(printable("a\nERROR b\r\x1b[2J"), "a\\nERROR b\\r\\u{1b}[2J");
    assert_eq!(printable("\u{9b}\u{202e}\u{2066}\u{feff}"), "\\u{9b}\\u{202e}\\u{2066}\\u{feff}");
}

proptest! {
    #[test]
    fn any_bytes_become_one_short_printable_line(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let text = excerpt(&bytes);
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        // The longest escape of one byte has six characters, \u{1b}.
        prop_assert!(text.chars().count() <= 6 * EXCERPT_LIMIT + 30);
    }
}
