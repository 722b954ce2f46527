//! The way in for processes: what the kernel asks, asked of the [`Disk`].
//!
//! Nothing is cached: every name and every attribute is asked for each time, and files are read
//! and written past the page cache.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::content::BLOCK;
use crate::disk::{Disk, Flush, Look, Result};

/// How long the kernel may believe what it is told.
const NEVER: Duration = Duration::ZERO;
/// Numbers are not used again, so one generation is enough.
const GENERATION: Generation = Generation(0);
/// Longest name.
const NAME_BYTES_MAX: u32 = 255;

/// A disk that may be used from everywhere.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    /// Shares a disk.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk, for as long as nobody else needs it.
    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel talks to.
#[derive(Debug)]
pub struct Fuse(pub Shared);

fn attributes(look: Look) -> FileAttr {
    let (kind, perm) = if look.is_directory {
        (FileType::Directory, 0o755)
    } else {
        (FileType::RegularFile, 0o644)
    };
    FileAttr {
        ino: INodeNo(look.ino),
        size: look.length,
        blocks: look.length.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: u32::try_from(BLOCK).expect("a block is small"),
        flags: 0,
    }
}

fn said(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

fn answer_entry(looked: Result<Look>, reply: ReplyEntry) {
    match looked {
        Ok(look) => reply.entry(&NEVER, &attributes(look), GENERATION),
        Err(error) => reply.error(said(error)),
    }
}

fn answer_attributes(looked: Result<Look>, reply: ReplyAttr) {
    match looked {
        Ok(look) => reply.attr(&NEVER, &attributes(look)),
        Err(error) => reply.error(said(error)),
    }
}

fn answer(done: Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(said(error)),
    }
}

// Parameters and replies are as the trait has them.
impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.0.lock().look_up(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(self.0.lock().look(ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.0.lock();
        let cut = size.map_or(Ok(()), |length| disk.set_length(ino.0, length));
        answer_attributes(cut.and_then(|()| disk.look(ino.0)), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        answer_entry(self.0.lock().make(parent.0, name, true), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.0.lock().remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.0.lock().remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        answer(self.0.lock().rename((parent.0, name), (new_parent.0, new_name)), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.0.lock().link(ino.0, parent.0, name), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.lock().open(ino.0) {
            Ok(run) => reply.opened(FileHandle(run), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(said(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.0.lock();
        let made = disk.make(parent.0, name, false);
        match made.and_then(|look| Ok((look, disk.open(look.ino)?))) {
            Ok((look, run)) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&NEVER, &attributes(look), GENERATION, FileHandle(run), flags);
            }
            Err(error) => reply.error(said(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().read(ino.0, fh.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(said(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().write(ino.0, fh.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(said(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing makes nothing durable.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().close(ino.0, fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        let flushed = self.0.lock().flush(ino.0, fh.0, false);
        match flushed {
            Ok(Flush::Now) => reply.ok(),
            Ok(Flush::After(ms)) => {
                let disk = self.0.clone();
                // As many as there are threads that wait for a flush.
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(ms));
                    answer(disk.lock().flush(ino.0, fh.0, true).map(|_| ()), reply);
                });
            }
            Err(error) => reply.error(said(error)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.0.lock().list(ino.0) {
            // By number, so that what is removed meanwhile makes nothing be passed over.
            Ok(names) => {
                for (number, (name, look)) in names.range(offset + 1..) {
                    let kind = attributes(*look).kind;
                    if reply.add(INodeNo(*number), *number, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(said(error)),
        }
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.0.lock().flush_names(ino.0), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let room = self.0.lock().room();
        let block = BLOCK as u64;
        let size = u32::try_from(BLOCK).expect("a block is small");
        match room {
            Ok((all, free)) => {
                let (all, free) = (all / block, free / block);
                reply.statfs(all, free, free, 0, 0, size, NAME_BYTES_MAX, size);
            }
            Err(error) => reply.error(said(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let end = offset.saturating_add(length);
        answer(self.0.lock().allocate(ino.0, fh.0, end), reply);
    }
}
