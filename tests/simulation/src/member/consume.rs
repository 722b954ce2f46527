//! What members of consumer groups do: they join, read what they are assigned, in order, commit how
//! far they have come, and go.

use bytes::Bytes;
use holdfast_protocol::group::{Answer, Error, FetchOffsets, Fetched, Joined, Request};
use holdfast_protocol::{Offset, Position, ShardId, StreamId};
use holdfast_service::GroupError;

use super::{PARTING, PAUSE_MS, Phase, Progress};
use crate::client::Client;
use crate::event::Event;
use crate::world::World;

/// A member waits this long for an answer; to join, for as long as a rebalance takes, ms.
const TIMEOUT_MS: u64 = 2_000;
const JOIN_TIMEOUT_MS: u64 = 8_000;
/// Batches read at once are at most so long, bytes.
const POLL_BYTES: usize = 16 * 1024;

impl World {
    /// A member does what comes next.
    pub(crate) fn member_step(&mut self, number: usize, attempt: u64) -> Result<(), String> {
        if self.members[number].attempt != attempt || self.quiet {
            return Ok(());
        }
        let member = &self.members[number];
        match member.phase {
            Phase::Out | Phase::Joining | Phase::Syncing | Phase::Fetching => {
                let join = member.join();
                self.members[number].phase = Phase::Joining;
                self.ask_coordinator(number, join, JOIN_TIMEOUT_MS);
            }
            // What was lost, and told so, is no longer where it was read.
            Phase::Reading if member.losses != self.losses.total() => {
                self.members[number].phase = Phase::Out;
                self.member_again(number, 0);
            }
            Phase::Reading if self.dice.chance(12) => self.go(number),
            Phase::Reading => {
                self.poll(number)?;
                self.keep_progress(number);
            }
        }
        Ok(())
    }

    /// It leaves, saying so or not, and comes back later as another.
    fn go(&mut self, number: usize) {
        self.faults.count("member went");
        let leave = self.members[number].leave();
        let says_so = self.dice.chance(500);
        if says_so {
            self.ask_coordinator(number, leave, TIMEOUT_MS);
        }
        let member = &mut self.members[number];
        member.phase = Phase::Out;
        member.id.clear();
        member.streams.clear();
        member.attempt += 1;
        let attempt = member.attempt;
        let pause = self.dice.between(500, 8_000);
        self.after(pause, Event::Member(number, attempt));
    }

    /// Reads on in every stream that it is assigned.
    fn poll(&mut self, number: usize) -> Result<(), String> {
        let streams: Vec<StreamId> = self.members[number].streams.keys().copied().collect();
        for stream in streams {
            let Some(shard) = self.shard_of(stream) else { continue };
            let Some(leader) = self.leader_of(shard) else { continue };
            if self.is_paused(leader).is_some() {
                continue;
            }
            let Some(process) = &self.brokers[leader as usize].process else { continue };
            let view = process.drivers[&shard].view();
            let Ok(offsets) = view.offsets(stream) else { continue };
            let Some(progress) = self.members[number].streams.get(&stream).copied() else {
                continue;
            };
            // Deleted meanwhile: it goes on with what there is.
            let from = progress.next.max(offsets.start);
            self.checker.judge_start(stream, offsets.start)?;
            let read = view.reader.read_stream(stream, from, offsets.end, POLL_BYTES, true);
            let mut next = from;
            for batch in read.unwrap_or_default() {
                let (offset, value) = crate::client::placed(&batch);
                if offset != next {
                    return Err(format!("{stream:?}: a reader at {next} was given {offset}"));
                }
                next = offset.plus(1);
                self.checker.read(stream, offset, value)?;
            }
            if let Some(progress) = self.members[number].streams.get_mut(&stream) {
                progress.next = next;
            }
        }
        Ok(())
    }

    /// Commits what it has read, or only says that it is there.
    fn keep_progress(&mut self, number: usize) {
        self.note_progress(number);
        let member = &self.members[number];
        let request = if member.committing.is_empty() {
            member.heartbeat()
        } else {
            // As the attempt that it is asked with.
            member.commit(number, member.attempt + 1)
        };
        self.ask_coordinator(number, request, TIMEOUT_MS);
    }

    /// What there is to be committed.
    fn note_progress(&mut self, number: usize) {
        let member = &self.members[number];
        let new = member.streams.iter().filter(|(_, progress)| progress.next > progress.committed);
        let committing: Vec<(StreamId, Offset, Offset)> = new
            .map(|(stream, progress)| {
                (*stream, self.checker.cursor(&member.group, *stream), progress.next)
            })
            .collect();
        for (stream, _, offset) in &committing {
            self.checker.may_commit(&self.members[number].group, *stream, *offset);
        }
        self.members[number].committing = committing;
    }

    /// The coordinator answers.
    pub(crate) fn member_reply(
        &mut self,
        (number, attempt): (usize, u64),
        below: Position,
        answer: Result<Answer, GroupError>,
    ) -> Result<(), String> {
        if self.members[number].attempt != attempt {
            return Ok(());
        }
        let phase = self.members[number].phase;
        match (phase, answer) {
            (Phase::Joining, Ok(Answer::Join(joined))) => self.joined(number, &joined),
            (Phase::Syncing, Ok(Answer::Sync(synced))) => {
                let streams = self.assigned(&synced.assignment);
                let losses = self.losses.total();
                let member = &mut self.members[number];
                let known = |stream: &StreamId| self.checker.cursor(&member.group, *stream);
                member.expected = streams.iter().map(|stream| (*stream, known(stream))).collect();
                member.phase = Phase::Fetching;
                member.losses = losses;
                let fetch = FetchOffsets { group: member.group.clone(), streams: Some(streams) };
                self.ask_coordinator(number, Request::FetchOffsets(fetch), TIMEOUT_MS);
            }
            (Phase::Fetching, Ok(Answer::FetchOffsets(fetched))) => {
                self.fetched(number, &fetched)?
            }
            (Phase::Reading, Ok(Answer::CommitOffsets(results))) => {
                self.committed(number, &results, below)?;
                self.member_again(number, PAUSE_MS);
            }
            (Phase::Reading, Ok(_)) => self.member_again(number, PAUSE_MS),
            (_, Err(error)) => self.member_refused(number, &error)?,
            (_, Ok(_)) => self.member_again(number, PAUSE_MS),
        }
        Ok(())
    }

    fn joined(&mut self, number: usize, joined: &Joined) {
        let streams = self.clients.len();
        let member = &mut self.members[number];
        member.id.clone_from(&joined.member);
        member.generation = joined.generation;
        member.phase = Phase::Syncing;
        let sync = member.sync(joined, streams);
        // What it read before may be another's to read in this generation: it must not be taken,
        // though it knows the new generation already.
        self.note_progress(number);
        self.commit_unheard(number, 0);
        self.members[number].streams.clear();
        self.ask_coordinator(number, sync, TIMEOUT_MS * 2);
    }

    /// The streams that a member is to read: none of a topic that nobody was told to be there.
    fn assigned(&self, assignment: &Bytes) -> Vec<StreamId> {
        let of = |number: &u8| self.clients.get(usize::from(*number)).map(|client| client.stream);
        let streams = assignment.iter().filter_map(of);
        streams.filter(|stream| self.checker.is_declared(stream.topic)).collect()
    }

    /// It goes on where its group has come to, which is nothing that was not committed.
    fn fetched(&mut self, number: usize, fetched: &[Fetched]) -> Result<(), String> {
        let losses = self.losses.total();
        let (shard, coordinator) = (self.members[number].shard, self.members[number].coordinator);
        let is_deposed = coordinator.is_some_and(|broker| self.is_deposed(broker, shard));
        let member = &mut self.members[number];
        for (stream, before) in std::mem::take(&mut member.expected) {
            let of = fetched.iter().find(|of| of.stream == stream);
            let of = of.ok_or_else(|| format!("{stream:?}: asked for and not answered"))?;
            let offset = of.cursor.as_ref().map(|cursor| cursor.offset);
            // What was lost and told so may be forgotten, and a leader that was deposed and does not
            // know it shows what was.
            let is_told = member.losses == losses && !is_deposed;
            let before = if is_told { before } else { Offset(0) };
            self.checker.fetched_cursor(&member.group, stream, before, offset)?;
        }
        member.phase = Phase::Reading;
        let progress = |of: &Fetched| {
            let offset = of.cursor.as_ref().map(|cursor| cursor.offset).unwrap_or_default();
            (of.stream, Progress { next: offset, committed: offset })
        };
        member.streams = fetched.iter().map(progress).collect();
        self.member_again(number, 0);
        Ok(())
    }

    fn committed(
        &mut self,
        number: usize,
        results: &[(StreamId, Result<(), Error>)],
        below: Position,
    ) -> Result<(), String> {
        let losses = self.losses.total();
        let member = &mut self.members[number];
        for (stream, before, offset) in std::mem::take(&mut member.committing) {
            if !results.contains(&(stream, Ok(()))) {
                continue;
            }
            if let Some(progress) = member.streams.get_mut(&stream) {
                progress.committed = offset;
            }
            // What was lost and told so may be read, and committed, again.
            if member.losses == losses {
                let moved = (before, offset);
                self.checker.committed_cursor(&member.group, stream, moved, below)?;
            }
        }
        if let Some((_, Err(error))) = results.iter().find(|(_, result)| result.is_err()) {
            self.member_refused(number, &GroupError::Group(error.clone()))?;
        }
        Ok(())
    }

    fn member_refused(&mut self, number: usize, error: &GroupError) -> Result<(), String> {
        let member = &mut self.members[number];
        match error {
            GroupError::NotCoordinator
            | GroupError::Loading
            | GroupError::Group(Error::NotCoordinator | Error::CoordinatorNotAvailable) => {
                member.coordinator = None;
            }
            GroupError::Group(Error::RebalanceInProgress) => {
                let read = std::mem::replace(&mut member.phase, Phase::Out) == Phase::Reading;
                if read {
                    self.part(number)?;
                }
            }
            GroupError::Group(Error::MemberIdRequired { member: id }) => {
                member.phase = Phase::Out;
                member.id.clone_from(id);
            }
            GroupError::Group(_) => {
                member.phase = Phase::Out;
                member.id.clear();
            }
        }
        self.member_again(number, PAUSE_MS);
        Ok(())
    }

    /// Before it joins again, it commits what it has read, and does not wait for the answer: that
    /// may come when there is a new generation, and must be refused then.
    fn part(&mut self, number: usize) -> Result<(), String> {
        self.poll(number)?;
        self.note_progress(number);
        let delay = self.dice.between(1, 2_000);
        self.commit_unheard(number, delay);
        Ok(())
    }

    /// Sends a commit whose answer it does not wait for.
    fn commit_unheard(&mut self, number: usize, delay: u64) {
        let member = &self.members[number];
        let Some(broker) = member.coordinator.filter(|_| !member.committing.is_empty()) else {
            return;
        };
        let request = Box::new(member.commit(number, PARTING));
        self.after(
            delay,
            Event::MemberRequest { member: number, attempt: PARTING, broker, request },
        );
    }

    pub(super) fn member_again(&mut self, number: usize, pause_ms: u64) {
        let delay = pause_ms + self.dice.below(PAUSE_MS);
        let member = &mut self.members[number];
        member.attempt += 1;
        let attempt = member.attempt;
        self.after(delay, Event::Member(number, attempt));
    }

    pub(crate) fn shard_of(&self, stream: StreamId) -> Option<ShardId> {
        let client: Option<&Client> = self.clients.iter().find(|client| client.stream == stream);
        client.map(|client| client.shard)
    }
}
