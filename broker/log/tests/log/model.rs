//! Random histories of one log against a model in memory: what the log says is what the model
//! says, and after a crash it is what was durable, and at most what was written.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_log::{Config, ShardLog};
use holdfast_protocol::{Epoch, Offset, Position};
use proptest::prelude::*;

use crate::support::{Write, batch, command, entries, flip, overwrite, place, small, stream};

#[derive(Clone, Debug)]
enum Step {
    /// Entries of these streams (3: a command), with bodies of these lengths, in one append.
    Append(Vec<(u8, u16)>),
    NewEpoch,
    Flush,
    /// Of what is above the checkpoint, this share of 256 stays.
    Truncate(u8),
    /// At this share of 256 of what is above the last.
    Checkpoint(u8),
    /// Entries of this stream, with an offset below this share of 256 of its offsets, die.
    Clean(u8, u8),
    Reset,
    Reopen,
    Close,
    /// The process ends and the byte at this share of 256 of the unflushed bytes is spoiled: a
    /// flipped bit, or zero for an entry that is not there.
    Tear(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (0u8..4, 0u16..300);
    prop_oneof![
        12 => proptest::collection::vec(entry, 1..8).prop_map(Step::Append),
        1 => Just(Step::NewEpoch),
        3 => Just(Step::Flush),
        2 => any::<u8>().prop_map(Step::Truncate),
        2 => any::<u8>().prop_map(Step::Checkpoint),
        2 => (0u8..3, any::<u8>()).prop_map(|(of, share)| Step::Clean(of, share)),
        1 => Just(Step::Reset),
        2 => Just(Step::Reopen),
        1 => Just(Step::Close),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(share, zero)| Step::Tear(share, zero)),
    ]
}

/// One entry of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    epoch: u32,
    of: u8,
    offset: u64,
    body: Vec<u8>,
}

struct Model {
    entries: BTreeMap<u64, Item>,
    end: u64,
    durable: u64,
    epoch: u32,
    checkpoint: Option<u64>,
    /// Dead: positions that cleaning may have dropped.
    dead: std::collections::BTreeSet<u64>,
}

struct World {
    dir: tempfile::TempDir,
    log: Option<ShardLog>,
    model: Model,
}

fn config() -> Config {
    Config { aside_bytes_max: 4096, ..small() }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = ShardLog::open(dir.path(), config()).unwrap();
        Self {
            dir,
            log: Some(log),
            model: Model {
                entries: BTreeMap::new(),
                end: 0,
                durable: 0,
                epoch: 1,
                checkpoint: None,
                dead: std::collections::BTreeSet::new(),
            },
        }
    }

    fn log(&mut self) -> &mut ShardLog {
        self.log.as_mut().unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn next_offset(&self, of: u8) -> u64 {
        let last = self.model.entries.values().rev().find(|item| item.of == of);
        last.map_or(0, |item| item.offset + 2)
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(what) => self.append(what),
            Step::NewEpoch => self.model.epoch += 1,
            Step::Flush => {
                if let Some(job) = self.log().flush_job() {
                    let flushed = job.run().unwrap();
                    self.log().flushed(flushed).unwrap();
                }
                self.model.durable = self.model.end;
            }
            Step::Truncate(share) => self.truncate(*share),
            Step::Checkpoint(share) => {
                let low = self.low();
                let position = low + (self.model.end - low) * u64::from(*share) / 256;
                let bytes = position.to_string();
                self.log().write_checkpoint(Position(position), bytes.as_bytes()).unwrap();
                self.model.checkpoint = Some(position);
                self.model.durable = self.model.durable.max(position);
            }
            Step::Clean(of, share) => self.clean(*of, *share),
            Step::Reset => {
                let end = self.model.end;
                self.log().reset(Position(end + 5), Vec::new(), Position(end + 5)).unwrap();
                self.model.entries.clear();
                self.model.dead.clear();
                self.model.end = end + 5;
                self.model.durable = end + 5;
                self.model.checkpoint = None;
            }
            Step::Reopen => {
                self.log = None;
                self.reopen(false);
            }
            Step::Close => {
                self.log.take().unwrap().close().unwrap();
                self.reopen(true);
            }
            Step::Tear(share, zero) => self.tear(*share, *zero),
        }
    }

    /// The lowest position at which the log can be cut or checkpointed.
    fn low(&mut self) -> u64 {
        let start = self.log().start().0;
        start.max(self.model.checkpoint.unwrap_or(0))
    }

    fn append(&mut self, what: &[(u8, u16)]) {
        let mut bytes = Vec::new();
        for (of, length) in what {
            let position = self.model.end;
            let epoch = self.model.epoch;
            let offset = self.next_offset(*of);
            let body = vec![position as u8; usize::from(*length)];
            let entry = if *of == 3 {
                command(position, epoch)
            } else {
                batch(position, epoch, *of, offset, 2, &body)
            };
            let item = Item { epoch, of: *of, offset, body: entry[64..].to_vec() };
            self.model.entries.insert(position, item);
            self.model.end += 1;
            bytes.extend(entry);
        }
        self.log().write(&bytes).unwrap();
    }

    fn truncate(&mut self, share: u8) {
        let low = self.low();
        let to = low + (self.model.end - low) * u64::from(share) / 256;
        self.log().truncate(Position(to)).unwrap();
        self.cut(to);
    }

    fn cut(&mut self, to: u64) {
        self.model.entries.split_off(&to);
        self.model.dead.split_off(&to);
        self.model.end = to;
        self.model.durable = self.model.durable.min(to);
    }

    fn clean(&mut self, of: u8, share: u8) {
        let below = self.next_offset(of) * u64::from(share) / 256;
        let checkpoint = self.model.checkpoint.unwrap_or(0);
        for (position, item) in self.model.entries.range(..checkpoint) {
            if item.of == of && item.offset < below {
                self.model.dead.insert(*position);
            }
        }
        let dead = self.model.dead.clone();
        self.log().clean(Position(u64::MAX), |header| dead.contains(&header.position.0)).unwrap();
    }

    /// Opens again; nothing that was written may be missing.
    fn reopen(&mut self, clean: bool) {
        let (log, recovered) = ShardLog::open(self.path(), config()).unwrap();
        assert_eq!(recovered.damage, None);
        assert_eq!(recovered.torn_bytes, 0);
        assert_eq!(recovered.clean, clean);
        let position = recovered.checkpoint.map(|(position, bytes)| {
            assert_eq!(bytes, position.to_string().into_bytes());
            position.0
        });
        assert_eq!(position, self.model.checkpoint);
        self.model.durable = self.model.end;
        self.log = Some(log);
    }

    fn tear(&mut self, share: u8, zero: bool) {
        let low = self.model.durable.max(self.model.checkpoint.unwrap_or(0));
        // Only what no meta file has promised can be torn.
        let low = low.max(self.log().durable().0);
        if low >= self.model.end {
            return;
        }
        let at = low + (self.model.end - low) * u64::from(share) / 256;
        self.log = None;
        let (path, byte, length) = place(self.path(), at);
        if zero {
            overwrite(&path, byte, &vec![0; length as usize]);
        } else {
            flip(&path, byte + length - 1);
        }
        let (log, recovered) = ShardLog::open(self.path(), config()).unwrap();
        assert_eq!(recovered.damage, None);
        assert_eq!(log.end(), Position(at), "all before the tear, nothing after it");
        self.log = Some(log);
        self.cut(at);
        self.model.durable = at;
    }

    fn check(&mut self) {
        let log = self.log.as_ref().unwrap();
        let model = &self.model;
        assert_eq!(log.end(), Position(model.end));
        // A bound on what waits for a flush may have made more of it durable.
        assert!(log.durable().0 >= model.durable && log.durable() <= log.end());
        let reader = log.reader();
        let found: BTreeMap<u64, Item> = entries(&reader)
            .into_iter()
            .map(|entry| {
                let header = entry.header;
                let of = (0..3).find(|of| stream(*of) == header.stream).unwrap_or(3);
                let item = Item {
                    epoch: header.epoch.0,
                    of,
                    offset: if of == 3 { 0 } else { header.offset.0 },
                    body: entry.body().to_vec(),
                };
                (header.position.0, item)
            })
            .collect();
        for (position, item) in &found {
            let expected = &model.entries[position];
            assert_eq!((item.epoch, &item.body), (expected.epoch, &expected.body));
        }
        for position in model.entries.keys() {
            assert!(found.contains_key(position) || model.dead.contains(position));
        }
        for of in 0..3 {
            let expected: Vec<&[u8]> =
                found.values().filter(|item| item.of == of).map(|item| &item.body[..]).collect();
            let bodies = reader
                .read_stream(stream(of), Offset(0), Offset(u64::MAX), usize::MAX, true)
                .unwrap();
            assert_eq!(bodies, expected);
            for item in found.values().filter(|item| item.of == of) {
                let header = reader.locate(stream(of), Offset(item.offset + 1)).unwrap();
                assert_eq!(header.unwrap().offset, Offset(item.offset));
            }
        }
        let last = found.values().last().map(|item| item.epoch);
        assert!(last.is_none_or(|epoch| log.last_epoch() >= Epoch(epoch)));
        let headers = reader.headers(Position(0), Position(u64::MAX));
        assert_eq!(headers.count(), found.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn the_log_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            world.check();
        }
    }
}
