//! `ts`: ISO-8601 UTC with milliseconds (section 4).

/// Appends `unix_ms` as `2026-05-01T08:00:00.000Z`. Written digit by digit: every answer carries one.
pub fn push_timestamp(out: &mut String, unix_ms: u64) {
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil_from_days(days);
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    push_digits::<4>(out, year);
    for (separator, two_digits) in [
        ('-', month),
        ('-', day),
        ('T', seconds / 3600),
        (':', seconds / 60 % 60),
        (':', seconds % 60),
    ] {
        out.push(separator);
        push_digits::<2>(out, two_digits);
    }
    out.push('.');
    push_digits::<3>(out, ms);
    out.push('Z');
}

/// Appends the last `N` decimal digits of `number`.
fn push_digits<const N: usize>(out: &mut String, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // A remainder by ten fits.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    out.extend(digits.map(char::from));
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_777_622_400_001, "2026-05-01T08:00:00.001Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            let mut out = String::new();
            push_timestamp(&mut out, unix_ms);
            assert_eq!(out, text);
        }
    }
}
