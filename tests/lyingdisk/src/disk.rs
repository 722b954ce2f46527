//! The disk: files and directories by number, what is seen and what is durable, and its faults.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use rustix::io::Errno;

use crate::content::{BLOCK, Content, Loss};
use crate::dice::Dice;
use crate::names::{Change, Ino, Names, Pending, Set};

mod faults;

pub use faults::{Faults, Tally};

/// The number of the root directory.
pub const ROOT: Ino = 1;

/// What a call brings about, or why it can't.
pub type Result<T> = std::result::Result<T, Errno>;

/// A disk.
#[derive(Debug)]
pub struct Disk {
    nodes: BTreeMap<Ino, Node>,
    pending: Pending,
    /// The number that comes next.
    next: Ino,
    /// How often each file is open, in this run.
    open: BTreeMap<Ino, u64>,
    /// Grows with each power cut: what was opened before is of no use any more.
    run: u64,
    powered: bool,
    /// Bytes that it has room for.
    capacity: u64,
    faults: Faults,
    tally: Tally,
}

#[derive(Debug)]
enum Node {
    File(Content),
    Directory(Names),
}

/// What a file or directory looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which.
    pub ino: Ino,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Length, bytes.
    pub length: u64,
}

/// How a flush is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Now.
    Now,
    /// After so long, ms; then it is to be asked for again.
    After(u64),
}

impl Disk {
    /// An empty disk with room for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Directory(Names::default()))]),
            pending: Pending::default(),
            next: ROOT + 1,
            open: BTreeMap::new(),
            run: 0,
            powered: true,
            capacity,
            faults: Faults::default(),
            tally: Tally::default(),
        }
    }

    /// Refuses while there is no power.
    fn check(&self) -> Result<()> {
        if self.powered { Ok(()) } else { Err(Errno::IO) }
    }

    /// Refuses a file that was opened before the last power cut.
    fn check_run(&self, run: u64) -> Result<()> {
        self.check()?;
        if run == self.run { Ok(()) } else { Err(Errno::IO) }
    }

    fn names(&self, dir: Ino) -> Result<&Names> {
        self.check()?;
        match self.nodes.get(&dir) {
            Some(Node::Directory(names)) => Ok(names),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn content(&mut self, ino: Ino) -> Result<&mut Content> {
        self.check()?;
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    /// What `name` in `dir` is.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn look_up(&self, dir: Ino, name: &OsStr) -> Result<Look> {
        let ino = *self.names(dir)?.seen.get(name).ok_or(Errno::NOENT)?;
        self.look(ino)
    }

    /// What a file or directory looks like.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn look(&self, ino: Ino) -> Result<Look> {
        self.check()?;
        let node = self.nodes.get(&ino).ok_or(Errno::NOENT)?;
        let (is_directory, length) = match node {
            Node::File(content) => (false, content.length()),
            Node::Directory(_) => (true, 0),
        };
        Ok(Look { ino, is_directory, length })
    }

    /// The names in a directory, by number.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn list(&self, dir: Ino) -> Result<BTreeMap<Ino, (OsString, Look)>> {
        let names = self.names(dir)?;
        let looked = names.seen.iter().map(|(name, ino)| {
            let look = self.look(*ino)?;
            Ok((*ino, (name.clone(), look)))
        });
        looked.collect()
    }

    /// Makes a directory, or an empty file.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn make(&mut self, dir: Ino, name: &OsStr, is_directory: bool) -> Result<Look> {
        if self.names(dir)?.seen.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.check_room(BLOCK as u64)?;
        let ino = self.next;
        self.next += 1;
        let node = if is_directory {
            Node::Directory(Names::default())
        } else {
            Node::File(Content::default())
        };
        self.nodes.insert(ino, node);
        self.change(vec![Set { dir, name: name.to_owned(), to: Some(ino) }]);
        self.look(ino)
    }

    /// Gives a file another name beside those that it has.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn link(&mut self, ino: Ino, dir: Ino, name: &OsStr) -> Result<Look> {
        let look = self.look(ino)?;
        if look.is_directory {
            return Err(Errno::PERM);
        }
        if self.names(dir)?.seen.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.change(vec![Set { dir, name: name.to_owned(), to: Some(ino) }]);
        Ok(look)
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn remove(&mut self, dir: Ino, name: &OsStr, is_directory: bool) -> Result<()> {
        let look = self.look_up(dir, name)?;
        match (is_directory, look.is_directory) {
            (true, false) => return Err(Errno::NOTDIR),
            (false, true) => return Err(Errno::ISDIR),
            _ => {}
        }
        if look.is_directory && !self.names(look.ino)?.seen.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(vec![Set { dir, name: name.to_owned(), to: None }]);
        self.drop_unreachable();
        Ok(())
    }

    /// Renames; what had the new name loses it.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> Result<()> {
        let look = self.look_up(from.0, from.1)?;
        if let Ok(old) = self.look_up(to.0, to.1) {
            if old.is_directory && !self.names(old.ino)?.seen.is_empty() {
                return Err(Errno::NOTEMPTY);
            }
        } else {
            self.names(to.0)?;
        }
        self.change(vec![
            Set { dir: from.0, name: from.1.to_owned(), to: None },
            Set { dir: to.0, name: to.1.to_owned(), to: Some(look.ino) },
        ]);
        self.drop_unreachable();
        Ok(())
    }

    /// Changes names as they are seen.
    fn change(&mut self, change: Change) {
        for set in &change {
            self.set(set, false);
        }
        self.pending.push(change);
    }

    fn set(&mut self, set: &Set, durable: bool) {
        let Some(Node::Directory(names)) = self.nodes.get_mut(&set.dir) else { return };
        let names = if durable { &mut names.durable } else { &mut names.seen };
        match set.to {
            Some(ino) => names.insert(set.name.clone(), ino),
            None => names.remove(&set.name),
        };
    }

    fn set_durable(&mut self, changes: &[Change]) {
        for set in changes.iter().flatten() {
            self.set(set, true);
        }
    }

    /// Notes that a file is open; gives the run that its user is of.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn open(&mut self, ino: Ino) -> Result<u64> {
        self.look(ino)?;
        *self.open.entry(ino).or_default() += 1;
        Ok(self.run)
    }

    /// Notes that a file is closed.
    pub fn close(&mut self, ino: Ino, run: u64) {
        if run != self.run {
            return;
        }
        if let Some(count) = self.open.get_mut(&ino) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(&ino);
                self.drop_unreachable();
            }
        }
    }

    /// Some of the bytes of a file.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn read(&mut self, ino: Ino, run: u64, at: u64, count: usize) -> Result<Vec<u8>> {
        self.check_run(run)?;
        Ok(self.content(ino)?.read(at, count))
    }

    /// Puts bytes into a file.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn write(&mut self, ino: Ino, run: u64, at: u64, bytes: &[u8]) -> Result<()> {
        self.check_run(run)?;
        let end = at.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        self.grow(ino, end)?;
        self.tally.writes += 1;
        self.content(ino)?.write(at, bytes);
        Ok(())
    }

    /// Cuts a file, or makes it longer by zeros.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn set_length(&mut self, ino: Ino, length: u64) -> Result<()> {
        self.grow(ino, length)?;
        self.content(ino)?.set_length(length);
        Ok(())
    }

    /// Makes a file as long as this, at least.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn allocate(&mut self, ino: Ino, run: u64, length: u64) -> Result<()> {
        self.check_run(run)?;
        if length > self.content(ino)?.length() {
            self.set_length(ino, length)?;
        }
        Ok(())
    }

    /// Refuses where there is no room for a file of this length.
    fn grow(&mut self, ino: Ino, length: u64) -> Result<()> {
        let more = length.saturating_sub(self.content(ino)?.taken());
        if more > 0 { self.check_room(more) } else { Ok(()) }
    }

    fn check_room(&self, more: u64) -> Result<()> {
        self.check()?;
        let free = self.capacity.saturating_sub(self.taken());
        if more <= free { Ok(()) } else { Err(Errno::NOSPC) }
    }

    /// Makes the bytes of a file durable, or does what the faults have it do. With `waited` it
    /// was slow already.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn flush(&mut self, ino: Ino, run: u64, waited: bool) -> Result<Flush> {
        self.check_run(run)?;
        if self.faults.flush_ms > 0 && !waited {
            return Ok(Flush::After(self.faults.flush_ms));
        }
        let failing = self.faults.failing.as_ref();
        let fails = failing.is_some_and(|part| self.path(ino).contains(part));
        let ignored = self.faults.ignores_flushes;
        self.tally.flushes += 1;
        let content = self.content(ino)?;
        if fails {
            content.fail_to_flush();
            self.faults.failing = None;
            self.tally.failed_flushes += 1;
            return Err(Errno::IO);
        }
        if !ignored {
            content.flush();
        }
        Ok(Flush::Now)
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn flush_names(&mut self, dir: Ino) -> Result<()> {
        self.names(dir)?;
        self.tally.flushes += 1;
        if !self.faults.ignores_flushes {
            let changes = self.pending.take(dir);
            self.set_durable(&changes);
            self.drop_unreachable();
        }
        Ok(())
    }

    /// Bytes that files take.
    fn taken(&self) -> u64 {
        let taken = |node: &Node| match node {
            Node::File(content) => content.taken(),
            Node::Directory(_) => BLOCK as u64,
        };
        self.nodes.values().map(taken).sum()
    }

    /// Room in all and what is left of it, bytes.
    ///
    /// # Errors
    /// As a file system says it.
    pub fn room(&self) -> Result<(u64, u64)> {
        self.check()?;
        Ok((self.capacity, self.capacity.saturating_sub(self.taken())))
    }

    /// Forgets what no name and no user leads to.
    fn drop_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut next = vec![ROOT];
        next.extend(self.pending.named());
        next.extend(self.open.keys());
        while let Some(ino) = next.pop() {
            if !reached.insert(ino) {
                continue;
            }
            if let Some(Node::Directory(names)) = self.nodes.get(&ino) {
                next.extend(names.seen.values().chain(names.durable.values()));
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }

    /// The path of a file as it is seen; empty where it has none.
    fn path(&self, ino: Ino) -> String {
        let mut path = String::new();
        let mut at = ino;
        while at != ROOT {
            let parent = self.nodes.iter().find_map(|(dir, node)| match node {
                Node::Directory(names) => {
                    let (name, _) = names.seen.iter().find(|(_, to)| **to == at)?;
                    Some((*dir, name))
                }
                Node::File(_) => None,
            });
            let Some((dir, name)) = parent else { return String::new() };
            path = format!("/{}{path}", name.to_string_lossy());
            at = dir;
        }
        path
    }

    /// The file at a path.
    fn find(&self, path: &str) -> Result<Ino> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.look_up(at, OsStr::new(name))?.ino;
        }
        Ok(at)
    }

    /// The power goes. Until it is there again everything fails, and what was open stays lost.
    pub fn cut_power(&mut self) {
        self.powered = false;
        self.run += 1;
    }

    /// What was not flushed is gone, with `seed` only some of it. Says what was.
    pub fn lose(&mut self, seed: Option<u64>) -> (u64, usize) {
        let unflushed = (self.unflushed(), self.pending.len());
        let mut loss = seed.map_or(Loss::All, |seed| Loss::Any(Dice::new(seed)));
        let kept = match &mut loss {
            Loss::All => 0,
            Loss::Any(dice) => dice.below(self.pending.len() as u64 + 1),
        };
        // Names get to a journal in their order.
        let changes = self.pending.cut(usize::try_from(kept).unwrap_or(0));
        self.set_durable(&changes);
        self.open.clear();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => content.lose(&mut loss),
                Node::Directory(names) => names.seen.clone_from(&names.durable),
            }
        }
        self.drop_unreachable();
        unflushed
    }

    /// The power is there again.
    pub fn power_up(&mut self) {
        self.powered = true;
    }

    /// Bytes in blocks that a power cut would lose.
    fn unflushed(&self) -> u64 {
        let unflushed = |node: &Node| match node {
            Node::File(content) => content.unflushed(),
            Node::Directory(_) => 0,
        };
        self.nodes.values().map(unflushed).sum()
    }
}

#[cfg(test)]
mod tests;
