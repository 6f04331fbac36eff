//! hclog's records: their levels, and the one form of their timestamps (LOG-4).

use time::{Date, Month};

/// The levels, the least severe first.
pub const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Returns true for `2006-01-02T15:04:05.000000`, followed by `Z` or an offset.
pub fn is_timestamp(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000";
    let Some((moment, zone)) = text.split_at_checked(FORM.len()) else { return false };
    has_form(moment, FORM) && is_moment(moment) && is_zone(zone)
}

/// Returns true if the text has digits where the form has 0 and is equal to it elsewhere.
fn has_form(text: &str, form: &[u8]) -> bool {
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    text.len() == form.len() && text.bytes().zip(form).all(fits)
}

fn is_moment(text: &str) -> bool {
    let number = |from: usize, to: usize| text[from..to].parse::<u16>().unwrap_or(u16::MAX);
    let small = |from: usize| number(from, from + 2) as u8;
    let day = Month::try_from(small(5))
        .and_then(|month| Date::from_calendar_date(i32::from(number(0, 4)), month, small(8)));
    day.is_ok() && small(11) < 24 && small(14) < 60 && small(17) < 60
}

fn is_zone(text: &str) -> bool {
    let offset = |rest: &str| has_form(rest, b"00:00") && rest < "24:00" && &rest[3..] < "60";
    text == "Z" || text.strip_prefix(['+', '-']).is_some_and(offset)
}

#[cfg(test)]
mod tests {
    use super::is_timestamp;

    #[test]
    fn one_form_is_taken_and_no_other() {
        for good in ["2026-11-24T10:11:12.000042Z", "2024-02-29T23:59:59.999999+01:00"] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-24T10:11:12.000Z",
            "2026-11-24T10:11:12.000000000Z",
            "2026-11-24T10:11:12.000042",
            "2026-02-30T10:11:12.000042Z",
            "2026-11-24T24:11:12.000042Z",
            "2026-11-24 10:11:12.000042Z",
            "2026-11-24T10:11:12.000042+1:00",
            "２026-11-24T10:11:12.00004Z",
        ] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }
}
