use proptest::prelude::*;

use super::{format_timestamp, is_timestamp};

#[test]
fn moments_are_printed_in_utc_with_six_digits() {
    // The expected texts are from `date -u -d @N`.
    for (seconds, micros, expected) in [
        (0, 0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399, 999_999, "2000-02-28T23:59:59.999999Z"),
        (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
        (951_868_800, 0, "2000-03-01T00:00:00.000000Z"),
        (1_735_689_599, 0, "2024-12-31T23:59:59.000000Z"),
        (1_795_454_165, 42, "2026-11-23T17:16:05.000042Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        (-1, 0, "1969-12-31T23:59:59.000000Z"),
        (253_402_300_799, 0, "9999-12-31T23:59:59.000000Z"),
    ] {
        assert_eq!(format_timestamp(seconds, micros), expected);
    }
}

#[test]
fn too_many_microseconds_stay_in_their_second() {
    assert_eq!(format_timestamp(0, u32::MAX), "1970-01-01T00:00:00.999999Z");
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for seconds in [i64::MIN, i64::MAX] {
        assert!(format_timestamp(seconds, 0).ends_with('Z'));
    }
}

#[test]
fn both_kinds_of_zone_are_timestamps() {
    for text in [
        "2026-11-23T17:16:05.000042Z",
        "2026-11-23T17:16:05.000042+01:00",
        "2026-11-23T17:16:05.000042-09:30",
        "2024-02-29T00:00:00.000000Z",
        "2000-02-29T00:00:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
    ] {
        assert!(is_timestamp(text), "{text}");
    }
}

#[test]
fn anything_else_is_not() {
    for text in [
        "",
        "yesterday",
        "2026-11-23T17:16:05Z",
        "2026-11-23T17:16:05.042Z",
        "2026-11-23T17:16:05.000042000Z",
        "2026-11-23T17:16:05.000042",
        "2026-11-23 17:16:05.000042Z",
        "2026-11-23T17:16:05.000042z",
        "2026-11-23T17:16:05.000042+0100",
        "2026-11-23T17:16:05.000042+99:00",
        "2026-11-23T17:16:05.000042Z ",
        "2026-13-01T00:00:00.000000Z",
        "2026-00-01T00:00:00.000000Z",
        "2026-04-31T00:00:00.000000Z",
        "2026-01-00T00:00:00.000000Z",
        "2026-02-29T00:00:00.000000Z",
        "2100-02-29T00:00:00.000000Z",
        "2026-11-23T24:00:00.000000Z",
        "2026-11-23T00:60:00.000000Z",
        "2026-11-23T00:00:60.000000Z",
        "２026-11-23T17:16:05.000042Z",
    ] {
        assert!(!is_timestamp(text), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_a_timestamp(
        seconds in -62_167_219_200_i64..=253_402_300_799,
        micros in 0_u32..1_000_000,
    ) {
        let text = format_timestamp(seconds, micros);
        prop_assert!(is_timestamp(&text), "{}", text);
    }

    #[test]
    fn later_moments_sort_later(
        a in 0_i64..=253_402_300_799,
        b in 0_i64..=253_402_300_799,
    ) {
        prop_assert_eq!(a.cmp(&b), format_timestamp(a, 0).cmp(&format_timestamp(b, 0)));
    }
}
