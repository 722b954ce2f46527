//! The first bytes of a segment file, which say whose it is.

use std::path::Path;

use holdfast_protocol::Position;

use crate::Error;
use crate::codec::{Fields, Put};
use crate::disk;
use crate::storage::File;

/// Bytes before the first entry.
pub(crate) const HEAD: u64 = HEAD_BYTES as u64;
/// As [`HEAD`].
const HEAD_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"HFSEGMNT";
const VERSION: u32 = 1;

/// Which segment file this is: magic 8 bytes, version 4, generation 4, revision 4, reserved 4, base
/// position 8, reserved 28, CRC32C 4; together [`HEAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The log that it is of: grows with every reset.
    pub(crate) generation: u32,
    /// Grows with every rewrite by cleaning.
    pub(crate) revision: u32,
    /// The lowest position that it may hold.
    pub(crate) base: Position,
}

impl Identity {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.put_u32(self.generation);
        out.put_u32(self.revision);
        out.put_u64(self.base.0);
    }

    pub(crate) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            generation: fields.u32()?,
            revision: fields.u32()?,
            base: Position(fields.u64()?),
        })
    }

    /// The first bytes of the segment file.
    pub(crate) fn head(self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.put_u32(VERSION);
        head.put_u32(self.generation);
        head.put_u32(self.revision);
        head.put_u32(0);
        head.put_u64(self.base.0);
        head.resize(HEAD_BYTES - 4, 0);
        let crc = crc32c::crc32c(&head);
        head.put_u32(crc);
        head
    }

    /// Reads the first bytes of a segment file; `None` where they are not such.
    pub(crate) fn read(file: &File, path: &Path) -> Result<Option<Self>, Error> {
        let mut head = [0; HEAD_BYTES];
        if disk::read_at(file, path, &mut head, 0)? < head.len() {
            return Ok(None);
        }
        let (body, crc) = head.split_at(head.len() - 4);
        if crc32c::crc32c(body).to_le_bytes() != crc || body[..8] != MAGIC {
            return Ok(None);
        }
        let mut fields = Fields(&body[8..]);
        let version = fields.u32().unwrap_or(0);
        if version != VERSION {
            return Err(Error::Version { path: path.to_owned(), version, known: VERSION });
        }
        let read = || {
            let generation = fields.u32()?;
            let revision = fields.u32()?;
            fields.u32()?;
            let base = Position(fields.u64()?);
            Some(Self { generation, revision, base })
        };
        Ok({ read }())
    }
}
