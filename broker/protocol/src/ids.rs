//! Ids, epochs, positions: each its own type, so that none is taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A broker of a policy: the ordinal of its pod, from 0.
    BrokerId(u32)
}
number! {
    /// A shard of a policy, from 0. Shard 0 also holds the catalog.
    ShardId(u32)
}
number! {
    /// The reign of one leader of one shard. Grows with every election; 0 is "none yet". The number
    /// says whose reign it is ([`Epoch::next_of`]), so that no two brokers ever lead the same one.
    Epoch(u32)
}
number! {
    /// The number of an entry in its shard's log, from 0. An *end* position is one past the last.
    Position(u64)
}
number! {
    /// The number of a message in its stream, from 0, dense. An *end* offset is one past the last.
    Offset(u64)
}

impl ShardId {
    /// The shard that holds the catalog of topics beside its streams. Every broker follows it.
    pub const CATALOG: Self = Self(0);
}

impl Position {
    /// The largest that may come from outside: far enough from the end of the numbers that
    /// nothing which follows it gets there. No log grows so long.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The position `count` entries further.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }
}

impl Offset {
    /// The largest that may come from outside, as for [`Position::MAX`]; what Kafka has room for.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The offset `count` messages further.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl Epoch {
    /// The largest that may come from outside, as for [`Position::MAX`]; what Kafka has room for.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// Brokers that are told apart in the number of an epoch: as many as a policy may have.
    pub const BROKERS_MAX: u32 = 64;

    /// The epoch that begins with the election of `leader`: the next one whose number has the
    /// remainder of that broker. Operators that read different states of the store, as after a
    /// restore from a backup, may elect two leaders over the same epoch; they never do so into
    /// the same one, and so entries are told apart by epoch and position.
    #[must_use]
    pub fn next_of(self, leader: BrokerId) -> Self {
        let next = self.0 + 1;
        let own = leader.0 % Self::BROKERS_MAX;
        let ahead = (own + Self::BROKERS_MAX - next % Self::BROKERS_MAX) % Self::BROKERS_MAX;
        Self(next + ahead)
    }

    /// Whether `epochs`, each with the position of its first entry, can be those of a log: both
    /// grow, and something could follow the last one.
    #[must_use]
    pub fn are_history(epochs: &[(Self, Position)]) -> bool {
        epochs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
            && epochs.last().is_none_or(|last| last.0 <= Self::MAX && last.1 <= Position::MAX)
    }
}

/// Shows 16 bytes as a hyphenated UUID.
fn write_uuid(bytes: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Takes exactly 16 bytes; `None` for any other number.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseUuidError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                parse_uuid(&text).map(Self)
            }
        }
    };
}

uuid! {
    /// The identity of a topic or queue: its resource's UID, or drawn when a client declared it.
    /// Never changes and is never used again.
    TopicId
}
uuid! {
    /// The identity of one replica's log. Kept on the volume and renewed whenever a loss can't be
    /// excluded, so that a log that may have lost something is never taken for the one it was.
    Incarnation
}

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UUID: expected 32 hexadecimal digits, hyphens allowed")]
pub struct ParseUuidError(String);

fn parse_uuid(text: &str) -> Result<[u8; 16], ParseUuidError> {
    let error = || ParseUuidError(text.chars().take(64).collect());
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16).ok_or_else(error))
        .collect::<Result<_, _>>()?;
    if digits.len() != 32 {
        return Err(error());
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(pair[0] << 4 | pair[1]).map_err(|_| error())?;
    }
    Ok(bytes)
}

/// One numbered sequence of messages: a partition of a topic, or a queue.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StreamId {
    /// The topic or queue.
    pub topic: TopicId,
    /// The partition, from 0; 0 for a queue.
    pub partition: u32,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_survive_text() {
        let id = TopicId([0xab; 16]);
        assert_eq!(TopicId::try_from(id.to_string()), Ok(id));
        assert!(TopicId::try_from("nonsense".to_owned()).is_err());
        assert!(TopicId::try_from("ab".to_owned()).is_err());
    }
}
