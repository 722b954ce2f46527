//! What a leader takes: batches, changes of the catalog, trims; and telling who waits for them.

use holdfast_core::shard::Refusal;
use holdfast_core::state::State;
use holdfast_protocol::entry::Kind;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::{Offset, Position, StreamId, TopicId, command, mark};
use holdfast_service::{Append, AppendError, Appended, CatalogError, Durability};
use tokio::sync::oneshot;

use super::AppendCommand;
use super::driver::Driver;
use super::effects::Effects;
use super::groups::Kept;

/// The most topics of one policy.
const TOPICS_MAX: usize = 20_000;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Who waits for the log to get somewhere.
#[derive(Debug)]
pub(super) enum Waiter {
    Append(Reply<Appended, AppendError>, Appended),
    Catalog(Reply<(), CatalogError>),
    Trim(Reply<Offset, AppendError>, Offset),
    Kept(Kept),
    /// It is told this refusal, should this replica still lead.
    Refused(Reply<Appended, AppendError>, AppendError),
}

/// A batch whose sequence does not follow, and who is to be told so.
pub(super) type Gap = (StreamId, Reply<Appended, AppendError>, AppendError);

impl<E: Effects> Driver<E> {
    /// Takes one batch. To be called only while [`Driver::takes_appends`].
    pub fn append(&mut self, command: AppendCommand) {
        let AppendCommand { append, reply } = command;
        match self.place(&append) {
            Ok((until, appended)) => match append.durability {
                Durability::None => {
                    let _ = reply.send(Ok(appended));
                }
                Durability::Leader => self.held.push(until, Waiter::Append(reply, appended)),
                Durability::Committed => {
                    self.committed.push(until, Waiter::Append(reply, appended));
                }
            },
            Err(error @ AppendError::OutOfOrderSequence { .. }) => {
                self.gaps.push((append.stream, reply, error));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Sees to it that those are answered whose sequence does not follow. A leader that was deposed
    /// and does not know it lacks what another has stored since, and a producer that is told of a
    /// gap begins a new sequence: what it had sent might then be stored twice. So it is said only
    /// once something that was appended after its batch came is committed.
    pub(super) fn confirm_gaps(&mut self) {
        let gaps = std::mem::take(&mut self.gaps);
        let Some((stream, ..)) = gaps.first() else { return };
        // A trim that drops nothing changes nothing.
        let (start, _) = self.core.kept(*stream);
        let body = command::TrimStream { start: start.0, bytes: 0 };
        let barrier = self.core.command_on(*stream, Kind::TrimStream, &body);
        for (_, reply, error) in gaps {
            match &barrier {
                Ok(until) => self.committed.push(*until, Waiter::Refused(reply, error)),
                Err(refusal) => {
                    let _ = reply.send(Err(refused(refusal.clone())));
                }
            }
        }
    }

    fn place(&mut self, append: &Append) -> Result<(Position, Appended), AppendError> {
        if let Some(failure) = &self.failure {
            return Err(AppendError::Storage(failure.clone()));
        }
        if append.batch.len() > append.batch_bytes_max as usize {
            let (bytes, max) = (append.batch.len(), append.batch_bytes_max);
            return Err(AppendError::TooLarge { bytes, max });
        }
        if append.durability == Durability::Committed {
            self.core.accepts().map_err(refused)?;
        }
        let placed = self.core.append(append.stream, &append.batch).map_err(refused)?;
        let start_offset = start_of(self.core.state(), append.stream);
        Ok((placed.until, Appended { base_offset: placed.offset, start_offset }))
    }

    pub(super) fn declare(&mut self, topic: &Topic, reply: Reply<(), CatalogError>) {
        match self.check_declaration(topic) {
            Ok(()) => {
                let body = command::DeclareTopic { topic: Some(topic.into()) };
                self.change_catalog(Kind::DeclareTopic, &body, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn check_declaration(&self, topic: &Topic) -> Result<(), CatalogError> {
        self.core.accepts().map_err(catalog_refused)?;
        let catalog = self.core.state().catalog();
        if catalog.is_deleted(topic.id) {
            return Err(CatalogError::UnknownTopic);
        }
        let topics = catalog.topics();
        if topics.by_name(&topic.name).is_some_and(|other| other.id != topic.id) {
            return Err(CatalogError::NameTaken(topic.name.clone()));
        }
        match topics.by_id(topic.id) {
            Some(known) if known.partitions > topic.partitions => {
                Err(CatalogError::FewerPartitions {
                    have: known.partitions,
                    asked: topic.partitions,
                })
            }
            None if topics.len() >= TOPICS_MAX => Err(CatalogError::TooManyTopics(topics.len())),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn delete_topic(&mut self, id: TopicId, reply: Reply<(), CatalogError>) {
        if self.core.state().catalog().topics().by_id(id).is_none() {
            let refused = self.core.accepts().map_err(catalog_refused).err();
            let _ = reply.send(Err(refused.unwrap_or(CatalogError::UnknownTopic)));
            return;
        }
        let body = command::DeleteTopic { id: id.0.to_vec().into() };
        self.change_catalog(Kind::DeleteTopic, &body, reply);
    }

    /// One change of the catalog at a time, so that each is checked against the last.
    fn change_catalog<M: prost::Message>(
        &mut self,
        kind: Kind,
        body: &M,
        reply: Reply<(), CatalogError>,
    ) {
        match self.core.command(kind, body) {
            Ok(until) => self.committed.push(until, Waiter::Catalog(reply)),
            Err(refusal) => {
                let _ = reply.send(Err(catalog_refused(refusal)));
            }
        }
    }

    pub(super) fn delete_records(
        &mut self,
        stream: StreamId,
        before: Option<Offset>,
        reply: Reply<Offset, AppendError>,
    ) {
        let end = self.core.state().stream(stream).map_or(Offset(0), |stream| stream.end);
        let (start, _) = self.core.kept(stream);
        let before = before.unwrap_or(end);
        if before > end {
            let _ = reply.send(Err(AppendError::OffsetOutOfRange(before)));
            return;
        }
        let to = before.max(start);
        match self.trim(stream, to) {
            Ok(until) => self.committed.push(until, Waiter::Trim(reply, to)),
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Drops the messages of a stream below `to`.
    ///
    /// # Errors
    /// Why nothing is dropped; also where it can't be told how much it would be.
    pub(super) fn trim(&mut self, stream: StreamId, to: Offset) -> Result<Position, AppendError> {
        let bytes = match self.bytes_below(stream, to) {
            Ok(bytes) => bytes,
            Err(error) => {
                let why = error.to_string();
                if error.is_rot() {
                    self.found_rot(why.clone());
                }
                return Err(AppendError::Storage(why));
            }
        };
        let body = command::TrimStream { start: to.0, bytes };
        self.core.command_on(stream, Kind::TrimStream, &body).map_err(refused)
    }

    /// Tells those whose wait is over, and those whose wait is in vain.
    pub(super) fn settle_waits(&mut self) {
        let (committed, held) = (self.core.replica().committed(), self.held_here());
        while let Some(waiter) = self.committed.pop(committed) {
            self.tell(waiter, true);
        }
        while let Some(waiter) = self.held.pop(held) {
            self.tell(waiter, true);
        }
        if self.core.replica().leads() != self.led {
            self.give_up_waits();
            self.led = self.core.replica().leads();
        }
    }

    /// Leadership ended: what waits has an unknown fate.
    pub(super) fn give_up_waits(&mut self) {
        let waiters: Vec<Waiter> = self.committed.drain().chain(self.held.drain()).collect();
        for waiter in waiters {
            mark!(LeadershipLost);
            self.tell(waiter, false);
        }
    }

    fn tell(&mut self, waiter: Waiter, stored: bool) {
        match waiter {
            Waiter::Append(reply, appended) => {
                let _ = reply.send(if stored {
                    Ok(appended)
                } else {
                    Err(AppendError::LeadershipLost)
                });
            }
            Waiter::Trim(reply, start) => {
                let _ =
                    reply.send(if stored { Ok(start) } else { Err(AppendError::LeadershipLost) });
            }
            Waiter::Catalog(reply) => {
                let _ = reply.send(if stored { Ok(()) } else { Err(CatalogError::LeadershipLost) });
            }
            Waiter::Kept(kept) => self.kept(kept, stored),
            Waiter::Refused(reply, error) => {
                let _ = reply.send(Err(if stored { error } else { AppendError::NotLeader }));
            }
        }
    }
}

fn start_of(state: &State, stream: StreamId) -> Offset {
    state.stream(stream).map_or(Offset(0), |stream| stream.start)
}

pub(super) fn refused(refusal: Refusal) -> AppendError {
    use holdfast_core::batch::Error as Batch;
    match refusal {
        Refusal::NotLeader => AppendError::NotLeader,
        Refusal::NotEnoughReplicas => AppendError::NotEnoughReplicas,
        Refusal::Batch(error @ (Batch::Length { .. } | Batch::Checksum { .. })) => {
            AppendError::Corrupt(error.to_string())
        }
        Refusal::Batch(error @ (Batch::Magic(_) | Batch::Fields(_))) => {
            AppendError::Invalid(error.to_string())
        }
        Refusal::Gap { found, expected } => AppendError::OutOfOrderSequence { found, expected },
        Refusal::Fenced { current } => AppendError::ProducerFenced { found: -1, current },
    }
}

fn catalog_refused(refusal: Refusal) -> CatalogError {
    match refusal {
        Refusal::NotEnoughReplicas => CatalogError::NotEnoughReplicas,
        Refusal::NotLeader | Refusal::Batch(_) | Refusal::Gap { .. } | Refusal::Fenced { .. } => {
            CatalogError::NotLeader
        }
    }
}
