//! The durable checkpoint: opaque bytes of the broker, in the file `checkpoint`.
//!
//! A frame of generation (4), position (8) and the bytes, replaced as a whole, so that the old one
//! stands until the new one is durable.

use std::path::Path;

use holdfast_protocol::Position;

use crate::codec::{Fields, Put};
use crate::disk::{Format, Frame};
use crate::{Disk, Error};

const FORMAT: Format = Format { magic: *b"HFCHECKP", version: 1 };

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file.
    Missing,
    /// Something else, and why.
    Bad(&'static str),
    /// A checkpoint.
    Good { generation: u32, position: Position, bytes: Vec<u8> },
}

/// Replaces the file at `path` durably.
pub(crate) fn write(
    disk: &Disk,
    path: &Path,
    generation: u32,
    position: Position,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut head = Vec::new();
    head.put_u32(generation);
    head.put_u64(position.0);
    FORMAT.replace(disk, path, &[&head, bytes])
}

/// Reads the file at `path`.
pub(crate) fn read(disk: &Disk, path: &Path) -> Result<Found, Error> {
    let mut payload = match FORMAT.read(disk, path)? {
        Frame::Missing => return Ok(Found::Missing),
        Frame::Bad(reason) => return Ok(Found::Bad(reason)),
        Frame::Good(payload) => payload,
    };
    let mut fields = Fields(&payload);
    let (Some(generation), Some(position)) = (fields.u32(), fields.u64()) else {
        return Ok(Found::Bad("it is cut short"));
    };
    if Position(position) > Position::MAX {
        return Ok(Found::Bad("its position is too large to be"));
    }
    payload.drain(..12);
    Ok(Found::Good { generation, position: Position(position), bytes: payload })
}
