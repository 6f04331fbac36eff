//! Text that a subject sent, made fit to be shown; and the small forms that all reports share.

use std::fmt::Write as _;

/// In one line, without anything that could drive what shows it: control, invisible and unassigned characters become
/// what Rust writes for them (`\n`, `\u{1b}`). Backslashes stay, since much of the text is escaped already; the exact
/// bytes are in the JSON lines.
pub(crate) fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// Applies [`line`] to each line. Callers indent them, so that none can pass for a line of the
/// report.
pub(crate) fn lines(text: &str) -> String {
    text.trim_end_matches('\n').split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Neutral text ([`line`], [`lines`]) for XML and HTML, in content and between double quotes.
pub(crate) fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            // For the `]]>` that XML does not allow in content.
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Broken into lines of at most `width` characters: at a space where one is in the second half, else within the word.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.split('\n').flat_map(|line| wrap_line(line, width.max(1))).collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let mut wrapped = Vec::new();
    let mut rest = line;
    while let Some((end, _)) = rest.char_indices().nth(width) {
        let head = &rest[..end];
        let next_is_space = rest[end..].starts_with(' ');
        let at = match head.rfind(' ') {
            _ if next_is_space => end,
            Some(space) if space > end / 2 => space,
            _ => end,
        };
        wrapped.push(rest[..at].to_owned());
        rest = rest[at..].strip_prefix(' ').unwrap_or(&rest[at..]);
    }
    wrapped.push(rest.to_owned());
    wrapped
}

/// `1 case`, `2 cases`.
pub(crate) fn plural(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}

/// `41 ms`, `8.4 s`, `2 min 5 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Milliseconds with three digits behind the point.
pub(crate) fn offset(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// Returns a moment in UTC, as ISO 8601 has it but without a zone: `2026-11-24T15:18:05`.
pub(crate) fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    text
}

/// Returns a moment in UTC for people: `2026-11-24 15:18 UTC`.
pub(crate) fn moment(seconds: u64) -> String {
    let text = timestamp(seconds);
    // All of it is ASCII, and its last three characters are the seconds.
    format!("{} UTC", text[..text.len() - 3].replace('T', " "))
}

/// Year, month and day of a day since 1970. Years begin in March here, so that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const FOUR_CENTURIES: u64 = 146_097;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_escaped() {
        assert_eq!(line("a\x1b[2J\r\n\t\0b"), r"a\u{1b}[2J\r\n\t\0b");
        assert_eq!(line("csi \u{9b}31m, rlo \u{202e}, bom \u{feff}, \u{2028}"), {
            r"csi \u{9b}31m, rlo \u{202e}, bom \u{feff}, \u{2028}"
        });
        assert_eq!(
            line("zero\u{200b}width \u{fffe} \u{e000}"),
            r"zero\u{200b}width \u{fffe} \u{e000}"
        );
        assert_eq!(line(r#"{"a":'\n'} ü 日本"#), r#"{"a":'\n'} ü 日本"#);
        assert_eq!(lines("one\r\ntwo\n\n"), "one\\r\ntwo");
    }

    #[test]
    fn lines_are_broken_at_spaces_or_else_within_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 9), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("ab\n\ncd", 4), ["ab", "", "cd"]);
        assert_eq!(wrap("äöü日本", 2), ["äö", "ü日", "本"]);
        assert_eq!(wrap("abc", 0), ["a", "b", "c"]);
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(timestamp(951_868_800), "2000-03-01T00:00:00");
        assert_eq!(timestamp(1_704_067_199), "2023-12-31T23:59:59");
        assert_eq!(timestamp(4_107_542_400), "2100-03-01T00:00:00");
        assert_eq!(moment(1_795_533_485), "2026-11-24 15:18 UTC");
        timestamp(u64::MAX);
    }
}
