//! Spans of time as people write them: `500ms`, `3s`, `1h30m`, `7d`, and `Unlimited` where a
//! field allows it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time in whole milliseconds, at most [`Duration::MAX`]; more is taken as that.
///
/// Either so many days (`7d`), or hours, minutes, seconds and milliseconds in that order, any
/// of which may be left out (`1h30m`, `500ms`). The second form is what Go and CEL read too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// What the schema holds the text to. The digits allowed keep every legal value below the 292
/// years that Go's and CEL's durations can hold.
pub(crate) const PATTERN: &str =
    "^([0-9]{1,5}d|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,9}ms)?)$";
const LENGTH_MIN: usize = 2;
const LENGTH_MAX: usize = 32;

const DAY_MS: u64 = 24 * HOUR_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const SECOND_MS: u64 = 1000;

/// Units in the order in which they must be written, with the digits allowed before each.
const UNITS: [(&str, u64, usize); 4] =
    [("h", HOUR_MS, 6), ("m", MINUTE_MS, 6), ("s", SECOND_MS, 6), ("ms", 1, 9)];
const DAY_DIGITS_MAX: usize = 5;

/// The text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a span of time: write whole days such as 7d, or hours, minutes, seconds and milliseconds such as 1h30m, 3s or 500ms"
)]
pub struct ParseError(String);

impl Duration {
    /// The longest, 999,999 hours (114 years): what six digits of hours can say.
    pub const MAX: Self = Self(999_999 * HOUR_MS);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        if milliseconds < Self::MAX.0 { Self(milliseconds) } else { Self::MAX }
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(SECOND_MS))
    }

    /// So many days.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_millis(days.saturating_mul(DAY_MS))
    }

    /// The whole of it in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.0)
    }
}

/// Takes `digits` of at most `digits_max` and `unit` off the front of `text`.
fn take<'a>(text: &'a str, unit: &str, digits_max: usize) -> Option<(u64, &'a str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let rest = rest.strip_prefix(unit)?;
    // `m` also begins `ms`.
    if (unit == "m" && rest.starts_with('s')) || digits.is_empty() || digits.len() > digits_max {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

impl FromStr for Duration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError(text.to_owned());
        if let Some((days, "")) = take(text, "d", DAY_DIGITS_MAX) {
            return Ok(Self::from_days(days));
        }
        let mut total = 0;
        let mut rest = text;
        for (unit, factor, digits_max) in UNITS {
            if let Some((count, left)) = take(rest, unit, digits_max) {
                total += count * factor;
                rest = left;
            }
        }
        if !rest.is_empty() || text.is_empty() {
            return Err(error());
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0.is_multiple_of(DAY_MS) {
            return write!(f, "{}d", self.0 / DAY_MS);
        }
        let mut rest = self.0;
        for (unit, factor, _) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "minLength": LENGTH_MIN,
            "maxLength": LENGTH_MAX,
        })
    }
}

/// How long messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionTime {
    /// For ever; written `Unlimited`.
    Unlimited,
    /// For this long.
    For(Duration),
}

const UNLIMITED: &str = "Unlimited";

/// What the schema holds a [`RetentionTime`] to.
pub(crate) fn retention_pattern() -> String {
    format!("^{UNLIMITED}$|{PATTERN}")
}

impl RetentionTime {
    /// In milliseconds; `None` where it is unlimited.
    #[must_use]
    pub const fn as_millis(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::For(duration) => Some(duration.as_millis()),
        }
    }
}

impl Default for RetentionTime {
    /// A week, as in Kafka.
    fn default() -> Self {
        Self::For(Duration::from_days(7))
    }
}

impl fmt::Display for RetentionTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str(UNLIMITED),
            Self::For(duration) => duration.fmt(f),
        }
    }
}

impl Serialize for RetentionTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RetentionTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            UNLIMITED => Ok(Self::Unlimited),
            _ => text.parse().map(Self::For).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for RetentionTime {
    fn schema_name() -> Cow<'static, str> {
        "RetentionTime".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": retention_pattern(),
            "minLength": LENGTH_MIN,
            "maxLength": LENGTH_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        for (text, milliseconds, shown) in [
            ("500ms", 500, "500ms"),
            ("3s", 3_000, "3s"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("168h", 604_800_000, "7d"),
            ("7d", 604_800_000, "7d"),
            ("1h500ms", 3_600_500, "1h500ms"),
            ("0s", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), milliseconds, "{text}");
            assert_eq!(duration.to_string(), shown);
        }
    }

    #[test]
    fn refuses() {
        for text in
            ["", "3", "s", "-3s", "1.5s", "3S", "1s1h", "1d1h", "3 s", "1w", "1s1s", "1ms1m"]
        {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("such as 7d"), "{error}");
        }
    }

    proptest! {
        /// What the API server lets in, the operator can read, and the other way round.
        #[test]
        fn pattern_and_parser_are_one_language(text in "([0-9]{0,10}(d|h|ms|m|s|x|)){0,4}") {
            let allowed = regex::Regex::new(PATTERN).unwrap().is_match(&text)
                && (LENGTH_MIN..=LENGTH_MAX).contains(&text.len());
            let read = text.parse::<Duration>();
            prop_assert_eq!(allowed, read.is_ok(), "{}", text);
        }

        #[test]
        fn what_is_written_is_read_back(milliseconds in 0..=2 * Duration::MAX.as_millis()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
    }
}
