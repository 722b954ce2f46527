//! The shapes of the requests, by Kafka's message definitions.

pub(super) mod admin;
pub(super) mod data;
pub(super) mod group;

use super::schema::{Field, Kind, Record};

const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);

/// A field of every version.
const fn always(kind: Kind) -> Field {
    between(0, i16::MAX, kind)
}

/// A field of `first` and later versions.
const fn since(first: i16, kind: Kind) -> Field {
    between(first, i16::MAX, kind)
}

/// A field up to and with version `last`.
const fn until(last: i16, kind: Kind) -> Field {
    between(0, last, kind)
}

const fn between(first: i16, last: i16, kind: Kind) -> Field {
    Field { kind, first, last }
}

/// A struct whose tagged fields are all unknown.
const fn record(fields: &'static [Field]) -> Record {
    Record { fields, tagged: &[] }
}
