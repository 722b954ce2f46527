//! `aside/`: what was cut from a log or replaced by a reset, kept for people to look at.
//!
//! Every item is a directory `<number>-<what>-<position>` of segment files, the newest with the
//! highest number. Bounded by count and by bytes; the oldest goes first, file by file, and the
//! newest file stays whatever its size.

use std::path::{Path, PathBuf};

use holdfast_protocol::Position;

use crate::{Config, Disk, Error, disk};

/// Makes the directory of a new item, durably.
pub(crate) fn new_item(
    files: &Disk,
    dir: &Path,
    what: &str,
    position: Position,
) -> Result<PathBuf, Error> {
    let aside = dir.join("aside");
    disk::create_dir(files, &aside)?;
    let number = disk::names(files, &aside)?
        .iter()
        .filter_map(|name| number_of(name))
        .max()
        .map_or(1, |last| last + 1);
    let item = aside.join(format!("{number:08}-{what}-{position}"));
    disk::create_dir(files, &item)?;
    Ok(item)
}

/// Drops the oldest items and files beyond the bounds.
pub(crate) fn bound(files: &Disk, dir: &Path, config: &Config) -> Result<(), Error> {
    let aside = dir.join("aside");
    let mut items: Vec<String> =
        disk::names(files, &aside)?.into_iter().filter(|name| number_of(name).is_some()).collect();
    items.sort_unstable_by_key(|name| number_of(name));
    let excess = items.len().saturating_sub(config.aside_count_max.max(1));
    for item in items.drain(..excess) {
        let item = aside.join(item);
        disk::remove_all(files, &item)?;
    }
    let mut lengths = Vec::new();
    for item in &items {
        let item = aside.join(item);
        for name in disk::names(files, &item)? {
            let path = item.join(name);
            let length = disk::length(files, &path)?;
            lengths.push((path, length));
        }
    }
    let mut bytes: u64 = lengths.iter().map(|(_, length)| length).sum();
    for (path, length) in lengths.iter().take(lengths.len().saturating_sub(1)) {
        if bytes <= config.aside_bytes_max {
            break;
        }
        disk::remove(files, path)?;
        bytes -= length;
    }
    Ok(())
}

/// Drops everything; false where there was nothing.
pub(crate) fn clear(files: &Disk, dir: &Path) -> Result<bool, Error> {
    let aside = dir.join("aside");
    let mut any = false;
    for name in disk::names(files, &aside)? {
        let item = aside.join(&name);
        if number_of(&name).is_some() {
            disk::remove_all(files, &item)?;
            any = true;
        }
    }
    Ok(any)
}

fn number_of(name: &str) -> Option<u64> {
    name.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_oldest_go_first_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { aside_count_max: 3, aside_bytes_max: 25, ..Config::default() };
        let mut items = Vec::new();
        for number in 0..5 {
            let item = new_item(&Disk::Files, dir.path(), "cut", Position(number)).unwrap();
            fs::write(item.join("one.log"), [0; 10]).unwrap();
            items.push(item);
            bound(&Disk::Files, dir.path(), &config).unwrap();
        }
        let left: Vec<_> = items.iter().map(|item| item.join("one.log").exists()).collect();
        assert_eq!(left, [false, false, false, true, true]);
        let item = new_item(&Disk::Files, dir.path(), "cut", Position(9)).unwrap();
        fs::write(item.join("big.log"), [0; 100]).unwrap();
        bound(&Disk::Files, dir.path(), &config).unwrap();
        assert!(item.join("big.log").exists(), "the newest stays");
        assert!(!items[4].join("one.log").exists());
    }
}
