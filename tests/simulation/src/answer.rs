//! Who waits for an answer of a broker, and what it was.

use std::fmt::Debug;

use holdfast_protocol::group::Answer;
use holdfast_protocol::{Offset, Position, ShardId, StreamId};
use holdfast_service::{AppendError, Appended, CatalogError, GroupError};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{Receiver, Sender};

use crate::admin::Deed;
use crate::client::Reply;
use crate::door::Told;
use crate::event::Event;
use crate::world::World;

/// Who waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Producer {
        client: usize,
        attempt: u64,
        value: u64,
    },
    Admin(Deed),
    Member {
        member: usize,
        attempt: u64,
    },
    /// A door, whose client may be told of what stands in the log.
    Door {
        shard: ShardId,
        told: Option<Told>,
    },
}

/// What is waited for.
#[derive(Debug)]
pub(crate) enum Awaited {
    Append(Receiver<Result<Appended, AppendError>>),
    Trim(Receiver<Result<Offset, AppendError>>),
    Declare(Receiver<Result<(), CatalogError>>),
    Group(Receiver<Result<Answer, GroupError>>),
    ForDoor(Box<dyn HandOn>),
}

/// An answer that is somebody else's.
pub(crate) trait HandOn: Debug {
    /// Hands it on, if it is there.
    fn poll(&mut self) -> Result<(), TryRecvError>;
}

/// An answer of a driver to a door.
#[derive(Debug)]
pub(crate) struct Relay<T> {
    pub(crate) answer: Receiver<T>,
    /// `None` once it was handed on.
    pub(crate) door: Option<Sender<T>>,
}

impl<T: Debug> HandOn for Relay<T> {
    fn poll(&mut self) -> Result<(), TryRecvError> {
        let answer = self.answer.try_recv()?;
        if let Some(door) = self.door.take() {
            // A door that has lost the connection hears nothing.
            let _ = door.send(answer);
        }
        Ok(())
    }
}

/// What came.
#[derive(Debug)]
pub(crate) enum Answered {
    Append(Result<Appended, AppendError>),
    Trim(Result<Offset, AppendError>),
    Declare(Result<(), CatalogError>),
    Group(Result<Answer, GroupError>),
    HandedOn,
}

/// Somebody who waits for something.
#[derive(Debug)]
pub(crate) struct Waiting {
    who: Who,
    awaited: Awaited,
}

impl Waiting {
    /// The answer, if it is there: [`TryRecvError::Closed`] where there never will be one.
    fn poll(&mut self) -> Result<Answered, TryRecvError> {
        match &mut self.awaited {
            Awaited::Append(answer) => answer.try_recv().map(Answered::Append),
            Awaited::Trim(answer) => answer.try_recv().map(Answered::Trim),
            Awaited::Declare(answer) => answer.try_recv().map(Answered::Declare),
            Awaited::Group(answer) => answer.try_recv().map(Answered::Group),
            Awaited::ForDoor(relay) => relay.poll().map(|()| Answered::HandedOn),
        }
    }
}

impl World {
    /// Somebody waits for an answer of this broker.
    pub(crate) fn await_answer(&mut self, id: u32, who: Who, awaited: Awaited) {
        if let Some(process) = &mut self.broker(id).process {
            process.waiting.push(Waiting { who, awaited });
            self.give_answers(id);
        } else if let Who::Producer { client, attempt, .. } = who {
            self.after(1, Event::Reply { client, attempt, reply: Reply::Failed });
        }
    }

    /// Tells clients what has come of their requests.
    pub(crate) fn give_answers(&mut self, id: u32) {
        let Some(process) = &mut self.broker(id).process else { return };
        let mut given = Vec::new();
        process.waiting.retain_mut(|waiting| match waiting.poll() {
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => false,
            Ok(answered) => {
                given.push((waiting.who, answered));
                false
            }
        });
        for (who, answered) in given {
            match (who, answered) {
                (Who::Producer { client, attempt, value }, Answered::Append(answer)) => {
                    self.produced(id, (client, attempt, value), answer);
                }
                (Who::Admin(deed), answered) => self.administered(id, deed, &answered),
                (Who::Member { member, attempt }, Answered::Group(answer)) => {
                    let delay = 1 + self.dice.below(4);
                    let below = self.committed_at(id, self.members[member].shard);
                    self.after(delay, Event::MemberReply { member, attempt, below, answer });
                }
                (Who::Door { shard, told }, _) => self.answered_door(id, shard, told),
                (Who::Producer { .. } | Who::Member { .. }, _) => {}
            }
        }
    }

    /// Up to where a broker knows the log to be committed: what it says now stands below.
    pub(crate) fn committed_at(&self, id: u32, shard: ShardId) -> Position {
        let process = self.brokers[id as usize].process.as_ref();
        let driver = process.and_then(|process| process.drivers.get(&shard));
        driver.map_or(Position(u64::MAX), |driver| driver.core().replica().committed())
    }

    /// One past the position of the entry that a broker has at an offset.
    pub(crate) fn below(&self, id: u32, shard: ShardId, at: (StreamId, Offset)) -> Position {
        let process = self.brokers[id as usize].process.as_ref();
        let driver = process.and_then(|process| process.drivers.get(&shard));
        let header =
            driver.and_then(|driver| driver.view().reader.locate(at.0, at.1).ok().flatten());
        let found = header.filter(|header| header.stream == at.0 && header.offset == at.1);
        // Deleted meanwhile, perhaps.
        found.map_or_else(|| self.committed_at(id, shard), |header| header.position.next())
    }
}
