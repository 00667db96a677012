//! ISO-8601 UTC with milliseconds, the `ts` of every frame (protocol.md 4).

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as the wire writes it.
pub(crate) fn now() -> String {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format(since_epoch.as_secs(), since_epoch.subsec_millis())
}

/// The moment that is so many seconds after 1970.
pub(crate) fn at(unix_seconds: u64) -> String {
    format(unix_seconds, 0)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn format(seconds: u64, millis: u32) -> String {
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date over 400-year eras that begin on 1 March, so that the leap day comes last.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Whether `text` has exactly the shape that the wire asks for.
pub(crate) fn is_well_formed(text: &str) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, &shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            exact => byte == exact,
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_around_leap_days_and_year_ends_are_right() {
        for (seconds, millis, text) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, 999, "2024-02-29T23:59:59.999Z"),
            (1_777_622_400, 40, "2026-05-01T08:00:00.040Z"),
            (4_102_444_799, 1, "2099-12-31T23:59:59.001Z"),
        ] {
            assert_eq!(super::format(seconds, millis), text);
        }
        assert!(super::is_well_formed(&super::now()));
        assert!(!super::is_well_formed("2026-05-01T08:00:00Z"));
        assert!(!super::is_well_formed("2026-05-01 08:00:00.000Z"));
    }
}
