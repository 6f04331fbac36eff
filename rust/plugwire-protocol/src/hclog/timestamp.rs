//! Timestamps as hclog writes them: RFC 3339 with exactly six digits after the second.

const SECONDS_PER_DAY: i64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01. A year that begins in March has its leap day at the end.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// Formats a moment in UTC for `@timestamp`: `2026-11-23T17:16:05.000042Z`.
///
/// The moment is given as seconds since the beginning of 1970 and microseconds within that second.
/// Microseconds above 999 999 count as 999 999.
pub fn format_timestamp(unix_seconds: i64, micros: u32) -> String {
    let (year, month, day) = civil_date(unix_seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = unix_seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let micros = micros.min(999_999);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Returns year, month and day in the Gregorian calendar of a day counted from 1970-01-01.
fn civil_date(days_since_epoch: i64) -> (i64, i64, i64) {
    let days = days_since_epoch + DAYS_TO_EPOCH;
    let cycle = days.div_euclid(DAYS_PER_400_YEARS);
    let day_of_cycle = days.rem_euclid(DAYS_PER_400_YEARS);
    // Without the leap days that have passed, every year has 365 days.
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, any five months in sequence have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * cycle + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

/// Returns whether a text is a timestamp as hclog writes it: `2006-01-02T15:04:05.000000`, then `Z`
/// or an offset such as `+07:00`, with a date and a time that exist.
pub(super) fn is_timestamp(text: &str) -> bool {
    // Each 0 is a placeholder for a digit.
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000000";
    const OFFSET: &[u8] = b"00:00";

    let Some((moment, zone)) = text.as_bytes().split_at_checked(SHAPE.len()) else {
        return false;
    };
    if !has_shape(moment, SHAPE) {
        return false;
    }
    let year = number(&moment[0..4]);
    let (month, day) = (number(&moment[5..7]), number(&moment[8..10]));
    let (hour, minute, second) =
        (number(&moment[11..13]), number(&moment[14..16]), number(&moment[17..19]));
    let zone_exists = match zone {
        b"Z" => true,
        [b'+' | b'-', offset @ ..] => {
            has_shape(offset, OFFSET) && number(&offset[0..2]) <= 24 && number(&offset[3..5]) <= 60
        }
        _ => false,
    };
    (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && zone_exists
}

fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// Returns the value of a few digits.
fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0'))
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests;
