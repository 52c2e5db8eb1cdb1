//! Moments as people and tools read them: RFC 3339, in UTC, to the millisecond.

/// `millis` since the Unix epoch, as `2026-11-21T13:00:00.000Z`.
pub fn rfc3339(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The milliseconds since the Unix epoch of a moment in UTC, with or without fractions of a second; `None` if it is none.
pub fn millis_of(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let millis: u64 =
        fraction.get(..fraction.len().min(3)).filter(|digits| is_digits(digits))?.parse().ok()?;
    let millis = millis * [100, 10, 1][fraction.len().min(3) - 1];
    let numbers = |text: &str, between: char, lengths: [usize; 3]| -> Option<[u64; 3]> {
        let parts: Vec<&str> = text.split(between).collect();
        let fits = parts.len() == 3 && parts.iter().zip(lengths).all(|(part, length)| part.len() == length);
        let number = |at: usize| parts[at].parse().ok().filter(|_| is_digits(parts[at]));
        fits.then(|| Some([number(0)?, number(1)?, number(2)?])).flatten()
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(whole, ':', [2, 2, 2])?;
    if year < 1970 || !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The other way round: the day whose date this is. A date that the calendar does not have is that of no day.
    let near = (year - 1970) * 365 + (year - 1969) / 4;
    let days = (near.saturating_sub(40)..near + 400).find(|days| civil(*days) == (year, month, day))?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years begin in March here, so that the
/// leap day is the last of its year; 400 of them are one era.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_moment_is_not_taken_for_one() {
        assert_eq!(millis_of("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(millis_of("2023-11-14T22:13:20.5Z"), Some(1_700_000_000_500));
        assert_eq!(millis_of("2023-11-14T22:13:20.123456Z"), Some(1_700_000_000_123));
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "23-11-14T22:13:20Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T+2:13:20Z",
            "1969-12-31T23:59:59Z",
            "2023-11-14T22:13:20+01:00",
        ] {
            assert_eq!(millis_of(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
            assert_eq!(millis_of(text), Some(millis));
        }
    }
}
