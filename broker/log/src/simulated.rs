//! A disk in memory that loses what was not flushed, for tests.
//!
//! What the process sees and what is durable are kept apart, for the content of each file and for
//! the names. [`SimulatedDisk::crash`] is a power cut: of what was not flushed any part may have
//! got to the disk, in any order and torn, as the seed says. [`SimulatedDisk::kill`] is the end
//! of a process alone: the page cache stays. After a failed flush the pages are seen as before
//! and count as clean, so that a later flush that succeeds does not make them durable.
//!
//! It never waits: how long a flush takes is up to who runs it. It takes no lock of a volume.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::storage::Mode;

mod inode;

use inode::Inode;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<World>>);

/// What a disk held at some time: what was durable of it.
#[derive(Clone)]
pub struct Snapshot(BTreeMap<PathBuf, Stored>);

/// How much of what was not flushed a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    All,
    /// Any part of it may be there, in any order, and torn.
    Any,
    /// All of it is there.
    None,
}

#[derive(Clone)]
enum Stored {
    Directory,
    File(Vec<u8>),
}

#[derive(Clone)]
enum Node {
    Directory,
    File(Arc<Mutex<Inode>>),
}

/// A change of names that may not be durable yet.
#[derive(Clone)]
enum Change {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

#[derive(Default)]
struct World {
    /// As the process sees them.
    names: BTreeMap<PathBuf, Node>,
    /// As they are on the disk.
    durable: BTreeMap<PathBuf, Node>,
    /// What leads from one to the other.
    changes: Vec<Change>,
    /// Grows with each end of the process: what was opened before is of no use any more.
    run: u64,
    quota: Option<u64>,
    failing_flushes: u32,
    failing_reads: u32,
    flushes: u64,
    /// Steps that are left before the process is stopped, where it is to be.
    steps_left: Option<u64>,
}

/// An open file.
pub(crate) struct Handle {
    disk: SimulatedDisk,
    inode: Arc<Mutex<Inode>>,
    run: u64,
    writes: bool,
}

impl SimulatedDisk {
    /// The process ends, the machine goes on: everything written is still seen.
    pub fn kill(&self) {
        self.world().end_run();
    }

    /// Stops the process in the middle of what it does, after so many more changes and flushes:
    /// whatever it asks then fails, until [`SimulatedDisk::kill`] or [`SimulatedDisk::crash`].
    pub fn stop_after(&self, steps: u64) {
        self.world().steps_left = Some(steps);
    }

    /// Whether it has stopped the process.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.world().steps_left == Some(0)
    }

    /// The power goes: of what was not flushed, what `loss` and `seed` say is left.
    pub fn crash(&self, seed: u64, loss: Loss) {
        let mut dice = Dice(seed);
        let mut world = self.world();
        world.end_run();
        for change in std::mem::take(&mut world.changes) {
            let kept = match loss {
                Loss::All => false,
                Loss::Any => dice.coin(),
                Loss::None => true,
            };
            if kept {
                change.apply(&mut world.durable);
            }
        }
        world.drop_orphans();
        world.names = world.durable.clone();
        for node in world.names.values() {
            if let Node::File(inode) = node {
                lock(inode).crash(&mut dice, loss);
            }
        }
    }

    /// The next flushes, so many, fail once each.
    pub fn fail_flushes(&self, count: u32) {
        self.world().failing_flushes = count;
    }

    /// The next reads, so many, fail once each.
    pub fn fail_reads(&self, count: u32) {
        self.world().failing_reads = count;
    }

    /// At most this many bytes fit; `None` for as many as there are.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.world().quota = bytes;
    }

    /// Bytes that the files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.world().used_bytes()
    }

    /// How many flushes there were.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.world().flushes
    }

    /// The files and their lengths, by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.world();
        let files = world.names.iter().filter_map(|(path, node)| match node {
            Node::Directory => None,
            Node::File(inode) => Some((path.clone(), lock(inode).length())),
        });
        files.collect()
    }

    /// What a file holds, as it is seen; `None` where there is none.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        match self.world().names.get(path) {
            Some(Node::File(inode)) => Some(lock(inode).seen().to_vec()),
            Some(Node::Directory) | None => None,
        }
    }

    /// Puts a file in place, durably, as if it had always been there.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let node = Node::File(Arc::new(Mutex::new(Inode::stored(bytes))));
        world.names.insert(path.to_owned(), node.clone());
        world.durable.insert(path.to_owned(), node);
    }

    /// Turns one bit of a file, for those who read it and on the disk; false where there is none.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        match self.world().names.get(path) {
            Some(Node::File(inode)) => lock(inode).flip(bit),
            Some(Node::Directory) | None => false,
        }
    }

    /// What is durable now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let world = self.world();
        let stored = world.durable.iter().map(|(path, node)| {
            let stored = match node {
                Node::Directory => Stored::Directory,
                Node::File(inode) => Stored::File(lock(inode).durable().to_vec()),
            };
            (path.clone(), stored)
        });
        Snapshot(stored.collect())
    }

    /// The disk is what it was then; processes on it have ended.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut world = self.world();
        world.end_run();
        world.changes.clear();
        let nodes = snapshot.0.iter().map(|(path, stored)| {
            let node = match stored {
                Stored::Directory => Node::Directory,
                Stored::File(bytes) => Node::File(Arc::new(Mutex::new(Inode::stored(bytes)))),
            };
            (path.clone(), node)
        });
        world.durable = nodes.collect();
        world.names = world.durable.clone();
    }

    /// An empty disk takes the place of this one; processes on it have ended.
    pub fn wipe(&self) {
        self.restore(&Snapshot(BTreeMap::new()));
    }

    pub(crate) fn open(&self, path: &Path, mode: Mode) -> io::Result<Handle> {
        let mut world = self.world();
        let inode = match (world.names.get(path), mode) {
            (Some(Node::Directory), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(inode)), Mode::Read | Mode::Write) => Arc::clone(inode),
            (Some(Node::File(inode)), Mode::Create) => {
                let inode = Arc::clone(inode);
                world.step()?;
                lock(&inode).set_length(0);
                inode
            }
            (None, Mode::Read | Mode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Mode::Create) => {
                world.check_parent(path)?;
                let inode = Arc::new(Mutex::new(Inode::default()));
                world.change(Change::Link(path.to_owned(), Node::File(Arc::clone(&inode))))?;
                inode
            }
        };
        let run = world.run;
        Ok(Handle { disk: self.clone(), inode, run, writes: mode != Mode::Read })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let node = world.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        world.check_parent(to)?;
        world.change(Change::Rename(from.to_owned(), to.to_owned(), node))?;
        Ok(())
    }

    pub(crate) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = world.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        world.change(Change::Link(to.to_owned(), node))?;
        Ok(())
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        match world.names.get(path) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(_)) => {
                world.change(Change::Unlink(path.to_owned()))?;
                Ok(())
            }
        }
    }

    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|name| name.starts_with(path));
        // The deepest first.
        let inside: Vec<PathBuf> = inside.rev().cloned().collect();
        for name in inside {
            world.change(Change::Unlink(name))?;
        }
        Ok(())
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        is_root(path) || matches!(self.world().names.get(path), Some(Node::Directory))
    }

    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if is_root(path) || world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.check_parent(path)?;
        world.change(Change::Link(path.to_owned(), Node::Directory))?;
        Ok(())
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.flush()?;
        let changes = std::mem::take(&mut world.changes);
        let (now, later) = changes.into_iter().partition(|change: &Change| change.is_in(path));
        world.changes = later;
        for change in now {
            let change: Change = change;
            change.apply(&mut world.durable);
        }
        Ok(())
    }

    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        if !is_root(path) && !matches!(world.names.get(path), Some(Node::Directory)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|name| name.parent() == Some(path));
        let names = inside.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    pub(crate) fn length(&self, path: &Path) -> io::Result<u64> {
        match self.world().names.get(path) {
            Some(Node::File(inode)) => Ok(lock(inode).length()),
            Some(Node::Directory) => Ok(0),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn end_run(&mut self) {
        self.run += 1;
        self.steps_left = None;
    }

    /// Counts a change or flush.
    fn step(&mut self) -> Result<(), Errno> {
        match &mut self.steps_left {
            Some(0) => Err(Errno::IO),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(Errno::IO) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.step()?;
        change.clone().apply(&mut self.names);
        self.changes.push(change);
        Ok(())
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if !is_root(parent) => match self.names.get(parent) {
                Some(Node::Directory) => Ok(()),
                Some(Node::File(_)) | None => Err(io::ErrorKind::NotFound.into()),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Drops names whose directory was never made.
    fn drop_orphans(&mut self) {
        let orphan = |path: &PathBuf| {
            let parents = path.ancestors().skip(1).filter(|parent| !is_root(parent));
            parents.into_iter().any(|p| !matches!(self.durable.get(p), Some(Node::Directory)))
        };
        let orphans: Vec<PathBuf> =
            self.durable.keys().filter(|path| orphan(path)).cloned().collect();
        for path in orphans {
            self.durable.remove(&path);
        }
    }

    /// Counts a flush, which may be one that fails.
    fn flush(&mut self) -> io::Result<()> {
        self.step()?;
        self.flushes += 1;
        if self.failing_flushes > 0 {
            self.failing_flushes -= 1;
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        let lengths = self.names.values().map(|node| match node {
            Node::Directory => 0,
            Node::File(inode) => lock(inode).length(),
        });
        lengths.sum()
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Link(path, node) => {
                names.insert(path, node);
            }
            Self::Unlink(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }

    /// Whether flushing this directory makes it durable; a rename is one transaction.
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

impl Handle {
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.check(false)?;
        self.check_read()?;
        Ok(lock(&self.inode).read_at(buffer, at))
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.check(true)?;
        self.make_room(at + bytes.len() as u64)?;
        lock(&self.inode).write_at(bytes, at);
        Ok(())
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        self.check(false)?;
        Ok(lock(&self.inode).length())
    }

    pub(crate) fn set_length(&self, length: u64) -> io::Result<()> {
        self.check(true)?;
        self.make_room(length)?;
        lock(&self.inode).set_length(length);
        Ok(())
    }

    pub(crate) fn allocate(&self, length: u64) -> Result<(), Errno> {
        self.check(true)?;
        self.make_room(length)?;
        let mut inode = lock(&self.inode);
        if length > inode.length() {
            inode.set_length(length);
        }
        Ok(())
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let world = self.disk.world();
        world.quota.map_or(u64::MAX, |quota| quota.saturating_sub(world.used_bytes()))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.check(false)?;
        let flushed = {
            let mut world = self.disk.world();
            let flushed = world.flush();
            if world.steps_left == Some(0) {
                // Stopped before it began.
                return flushed;
            }
            flushed
        };
        let mut inode = lock(&self.inode);
        match flushed {
            Ok(()) => inode.make_durable(),
            Err(_) => inode.mark_clean(),
        }
        flushed
    }

    /// A process that has ended neither reads nor writes.
    fn check(&self, writes: bool) -> Result<(), Errno> {
        if writes && !self.writes {
            return Err(Errno::BADF);
        }
        let mut world = self.disk.world();
        if world.run != self.run || world.steps_left == Some(0) {
            return Err(Errno::IO);
        }
        if writes { world.step() } else { Ok(()) }
    }

    fn check_read(&self) -> Result<(), Errno> {
        let mut world = self.disk.world();
        if world.failing_reads == 0 {
            return Ok(());
        }
        world.failing_reads -= 1;
        Err(Errno::IO)
    }

    fn make_room(&self, length: u64) -> Result<(), Errno> {
        let world = self.disk.world();
        let Some(quota) = world.quota else { return Ok(()) };
        let grown = length.saturating_sub(lock(&self.inode).length());
        if grown > 0 && world.used_bytes() + grown > quota { Err(Errno::NOSPC) } else { Ok(()) }
    }
}

/// What a seed decides (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

fn lock(inode: &Mutex<Inode>) -> MutexGuard<'_, Inode> {
    inode.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("files", &self.files().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("names", &self.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("run", &self.run).finish_non_exhaustive()
    }
}
