//! The names of one directory, and changes of names that are not durable yet.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The number of a file or directory. Never used again.
pub type Ino = u64;

/// The names of one directory.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// As they are seen.
    pub seen: BTreeMap<OsString, Ino>,
    /// As they are on the disk.
    pub durable: BTreeMap<OsString, Ino>,
}

/// One name as it is to be; without a number it is to be gone.
#[derive(Clone, Debug)]
pub struct Set {
    /// In which directory.
    pub dir: Ino,
    /// Which name.
    pub name: OsString,
    /// What it is to name.
    pub to: Option<Ino>,
}

/// What one call did to names: durable as a whole or not at all, as in a journal.
pub type Change = Vec<Set>;

/// Changes that are not durable yet, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Pending(Vec<Change>);

impl Pending {
    /// Notes a change.
    pub fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the changes name.
    pub fn named(&self) -> impl Iterator<Item = Ino> + '_ {
        self.0.iter().flatten().filter_map(|set| set.to)
    }

    /// Takes out the changes that touch `dir`, to be made durable, oldest first. What older ones
    /// say of the names that these change is forgotten: it is overtaken.
    pub fn take(&mut self, dir: Ino) -> Vec<Change> {
        let (mut taken, mut left): (Vec<Change>, Vec<Change>) = (Vec::new(), Vec::new());
        for change in self.0.drain(..) {
            if change.iter().any(|set| set.dir == dir) {
                for older in &mut left {
                    older.retain(|set| {
                        !change.iter().any(|new| new.dir == set.dir && new.name == set.name)
                    });
                }
                taken.push(change);
            } else {
                left.push(change);
            }
        }
        left.retain(|change| !change.is_empty());
        self.0 = left;
        taken
    }

    /// Takes out the first `count`, to be made durable, and forgets the others.
    pub fn cut(&mut self, count: usize) -> Vec<Change> {
        let mut all = std::mem::take(&mut self.0);
        all.truncate(count);
        all
    }
}
