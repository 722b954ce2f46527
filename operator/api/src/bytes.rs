//! A number of bytes as people write it: `10Gi`, `500M`, `1048576`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, at least one, in the notation of a Kubernetes quantity without fractions.
///
/// Written out with the largest binary suffix that divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// What the schema holds the text to. The digits allowed before each suffix keep every legal
/// value below 2^63, which is what CEL's and Go's integers can hold.
pub(crate) const PATTERN: &str =
    "^[1-9]([0-9]{0,17}|[0-9]{0,11}(k|Ki|M|Mi)|[0-9]{0,5}(G|Gi|T|Ti)|[0-9]{0,2}(P|Pi))$";

const SUFFIXES: [(&str, u64); 10] = [
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// The text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a number of bytes: write a whole number of at least 1, with k, M, G, T, P (thousands) or Ki, Mi, Gi, Ti, Pi (1024s) if you like, such as 10Gi"
)]
pub struct ParseError(String);

impl ByteSize {
    /// So many bytes; `None` for zero and for more than 2^63 - 1, which no field can hold.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes > 0 && i64::try_from(bytes).is_ok()).then_some(Self(bytes))
    }

    /// So many times 2^30 bytes. For constants: out of 1 to 999,999 it does not compile.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        assert!(count > 0 && count < 1_000_000);
        Self(count << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let suffix = &text[digits.len()..];
        let factor = match suffix {
            "" => Some(1),
            _ => SUFFIXES.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor),
        };
        // `u64::from_str` takes a leading plus sign, which the schema does not.
        let count = Some(digits)
            .filter(|digits| digits.starts_with(|c: char| ('1'..='9').contains(&c)))
            .and_then(|digits| digits.parse::<u64>().ok());
        count
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor))
            .and_then(Self::new)
            .ok_or_else(|| ParseError(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SUFFIXES.iter().take(5);
        match binary.into_iter().find(|(_, factor)| self.0.is_multiple_of(*factor)) {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as 10Gi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                ByteSize::new(bytes).ok_or_else(|| E::custom(ParseError(bytes.to_string())))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .ok()
                    .and_then(ByteSize::new)
                    .ok_or_else(|| E::custom(ParseError(bytes.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "minimum": 1,
            "maxLength": 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        for (text, bytes, shown) in [
            ("1", 1, "1"),
            ("1000", 1000, "1000"),
            ("1k", 1000, "1000"),
            ("1024", 1024, "1Ki"),
            ("10Gi", 10 << 30, "10Gi"),
            ("1536Mi", 1536 << 20, "1536Mi"),
            ("2048Mi", 2 << 30, "2Gi"),
            ("999Pi", 999 << 50, "999Pi"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), shown);
        }
    }

    #[test]
    fn refuses() {
        for text in
            ["", "0", "-1", "+1", "1.5Gi", "Gi", "1gi", "1 Gi", "9223372036854775808", "8Ei"]
        {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains("such as 10Gi"), "{error}");
        }
    }

    proptest! {
        /// The schema's pattern and the parser are one language: what the API server lets in,
        /// the operator can read.
        #[test]
        fn pattern_is_no_wider_than_the_parser(text in "[0-9]{1,20}(k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|)") {
            let allowed = regex::Regex::new(PATTERN).unwrap().is_match(&text);
            if allowed {
                let size: ByteSize = text.parse().unwrap();
                prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
            }
        }
    }
}
