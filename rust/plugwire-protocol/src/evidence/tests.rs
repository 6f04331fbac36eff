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
fn printable_text_is_only_changed_where_it_is_unsafe() {
    let ordinary = r#"C:\new "plugin" – größer	family: 👩‍👧"#;
    assert!(matches!(printable(ordinary), Cow::Borrowed(text) if text == ordinary));
    let forged = "ok\n2026-11-30 ERROR host: forged\r\x1b[2J\0\u{9b}";
    assert_eq!(printable(forged), "ok\\n2026-11-30 ERROR host: forged\\r\\u{1b}[2J\\0\\u{9b}");
    for hidden in
        ["\u{202e}", "\u{2066}", "\u{200f}", "\u{61c}", "\u{2028}", "\u{feff}", "\u{200b}"]
    {
        let escaped = format!("a{}b", hidden.escape_unicode());
        assert_eq!(printable(&format!("a{hidden}b")), escaped);
    }
    assert_eq!(printable(b"ab\xff\xc3"), "ab\\xff\\xc3");
}

proptest! {
    #[test]
    fn printable_bytes_have_no_control_characters(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        prop_assert!(!printable(&bytes).chars().any(|c| c.is_control() && c != '\t'));
    }

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
