//! Bytes on disk: segments, recovery, checkpoints.
