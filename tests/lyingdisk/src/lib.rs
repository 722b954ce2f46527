//! A file system for tests, in memory behind FUSE, that keeps what was not flushed apart from
//! what was, and on command loses it, tears it, fails, fills up, is slow, or rots.
//!
//! [`disk`] says what is seen and what is durable, and knows no FUSE; [`fuse`] is the way in for
//! processes, [`control`] the one for tests: a line of text for each command on a Unix socket.
//!
//! It is as unkind as POSIX allows: a file's bytes last only where the file was flushed, and its
//! name only where the directory was. Nothing is cached by the kernel, so that after a power cut
//! nothing is seen that is not there.

pub mod content;
pub mod control;
pub mod dice;
pub mod disk;
pub mod fuse;
pub mod names;
