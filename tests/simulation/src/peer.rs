//! What brokers say to each other: it may get lost, be late, arrive twice, or with a bit turned.

use bytes::Bytes;
use holdfast_broker::driver::{Ask, Image, Input};
use holdfast_core::State;
use holdfast_core::replica::{Answer, Outcome};
use holdfast_protocol::{BrokerId, Header, ShardId};
use tokio::sync::oneshot;

use crate::event::{Event, Peer};
use crate::world::World;

/// The version of an entry that the release before this one does not know.
const NEWER_VERSION: u8 = Header::VERSION + 1;

impl World {
    /// Sends from one broker to another: it may get lost, be late, or arrive twice.
    pub(crate) fn send_peer(&mut self, from: u32, to: u32, shard: ShardId, message: Peer) {
        let nodes = (from as usize, to as usize);
        if self.faults.is_cut(nodes.0, nodes.1) || to as usize >= self.brokers.len() {
            return;
        }
        if self.dice.chance(self.faults.lost_permille) {
            return;
        }
        let message = match message {
            Peer::Answer(answer) => Peer::Answer(self.as_it_arrives(to, answer)),
            other => other,
        };
        let run = self.brokers[to as usize].run;
        let copy = match &message {
            Peer::Fetch(fetch) if self.dice.chance(self.faults.twice_permille) => {
                Some(Peer::Fetch(*fetch))
            }
            Peer::Answer(answer) if self.dice.chance(self.faults.twice_permille) => {
                Some(Peer::Answer(answer.clone()))
            }
            _ => None,
        };
        if let Some(message) = copy {
            self.faults.count("message repeated");
            let delay = self.faults.latency(&self.dice, nodes) * 3;
            self.after(delay, Event::Peer { from, to, run, shard, message });
        }
        let delay = self.faults.latency(&self.dice, nodes);
        self.after(delay, Event::Peer { from, to, run, shard, message });
    }

    pub(crate) fn peer_arrives(
        &mut self,
        from: u32,
        to: u32,
        run: u64,
        shard: ShardId,
        message: Peer,
    ) {
        if !self.runs(to, run) {
            return;
        }
        if let Some(left) = self.is_paused(to) {
            self.after(left, Event::Peer { from, to, run, shard, message });
            return;
        }
        let peer = BrokerId(from);
        match message {
            Peer::Fetch(fetch) => {
                self.drive(to, shard, |driver| {
                    driver.effects_mut().hears.insert(peer);
                    driver.handle(Input::Fetch(peer, fetch));
                });
            }
            Peer::Answer(answer) => {
                self.drive(to, shard, |driver| driver.handle(Input::Answer(peer, answer)));
            }
            Peer::Connected => {
                self.drive(to, shard, |driver| driver.handle(Input::Connected(peer)));
            }
            Peer::Gone => {
                self.drive(to, shard, |driver| {
                    driver.effects_mut().hears.remove(&peer);
                    driver.handle(Input::FollowerGone(peer));
                });
            }
            Peer::AskCheckpoint => self.give_checkpoint(from, to, shard),
            Peer::Checkpoint(image) => {
                if image.is_some() && self.dice.chance(self.faults.midway_permille) {
                    self.faults.count("stopped while it was built");
                    let steps = self.dice.between(1, 60);
                    self.broker(to).disk.stop_after(steps);
                }
                self.drive(to, shard, |driver| {
                    driver.handle(image.map_or(Input::BuildFailed, Input::Built));
                });
            }
        }
    }

    /// The leader `to` gives its state to a follower that is built anew.
    fn give_checkpoint(&mut self, follower: u32, to: u32, shard: ShardId) {
        let (tx, mut rx) = oneshot::channel();
        self.drive(to, shard, |driver| driver.handle(Input::Ask(Ask::Checkpoint(tx))));
        let image = rx.try_recv().ok().flatten().and_then(|image| {
            let (state, history) = State::decode(&image.bytes).ok()?;
            let (bytes, log_start) = (image.bytes, image.log_start);
            Some(Box::new(Image { state, history, bytes, log_start }))
        });
        if image.is_some() {
            self.faults.count("built anew");
        }
        self.send_peer(to, follower, shard, Peer::Checkpoint(image));
    }
}

impl World {
    /// An answer as the follower gets it: perhaps with a bit turned on its way; and to one of an
    /// older release the newest entry is of a version that it does not know.
    fn as_it_arrives(&mut self, to: u32, mut answer: Answer) -> Answer {
        let is_old = self.brokers[to as usize].old_until_ms > self.now();
        let Outcome::Data { entries, .. } = &mut answer.outcome else { return answer };
        if entries.is_empty() {
            return answer;
        }
        if self.dice.chance(self.faults.garbled_permille) {
            let mut bytes = entries.to_vec();
            let bit = usize::try_from(self.dice.below(bytes.len() as u64 * 8)).unwrap_or(0);
            bytes[bit / 8] ^= 1 << (bit % 8);
            *entries = bytes.into();
            self.faults.count("answer garbled");
        } else if is_old {
            *entries = with_newer_version(entries);
        }
        answer
    }
}

/// The same entries, the last of them as a later release might write it.
fn with_newer_version(entries: &Bytes) -> Bytes {
    let mut bytes = entries.to_vec();
    let mut at = 0;
    while let Ok(header) = Header::peek(&bytes[at..]) {
        let end = at + header.length as usize;
        if end >= bytes.len() {
            break;
        }
        at = end;
    }
    bytes[at + 8] = NEWER_VERSION;
    let crc = crc32c::crc32c(&bytes[at + 8..]);
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}
