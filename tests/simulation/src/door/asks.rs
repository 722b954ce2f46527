//! What clients write to the doors of brokers, and what they make of the answers.

use bytes::Bytes;
use holdfast_protocol::group::{Answer, Request};
use holdfast_protocol::{Offset, StreamId};

use super::groups::Question;
use super::{Asker, Tag, Told, frames, groups};
use crate::client::{placed, topic_name};
use crate::event::Event;
use crate::member::PARTING;
use crate::world::World;

impl World {
    /// A producer's batch goes through the door of a broker.
    pub(crate) fn produce_by_door(
        &mut self,
        broker: u32,
        (client, attempt, value): (usize, u64, u64),
        batch: Bytes,
    ) {
        let stream = self.clients[client].stream;
        let asker = Asker::Producer { client, attempt, value };
        let cut = self.dice.chance(10);
        let name = topic_name(stream.topic);
        self.ask_door(broker, client, asker, cut, |id| frames::produce(id, &name, stream, batch));
    }

    /// A reader asks for a piece of a stream, somewhere up to where it has known it to end.
    pub(crate) fn read_by_door(&mut self, broker: u32, stream: StreamId) {
        let known = self.checker.known_end(stream);
        let from = Offset(self.dice.below(known.0 + 1));
        let (name, reader) = (topic_name(stream.topic), self.clients.len());
        self.ask_door(broker, reader, Asker::Reader(stream), false, |id| {
            frames::fetch(id, &name, (stream, from), 0)
        });
    }

    /// A member of a group asks its coordinator, by the one connection that it has. What it does not
    /// wait for it says only by one that there is.
    pub(crate) fn group_by_door(&mut self, broker: u32, tag: Tag, request: &Request) {
        let link = self.link_of_member(tag.0);
        self.reset_links(tag.0, Some(broker));
        let process = self.brokers[broker as usize].process.as_ref();
        let is_there = process.is_some_and(|process| process.door.links.contains_key(&link));
        if tag.1 == PARTING && !is_there {
            return;
        }
        let Some(question) = Question::of(request) else {
            self.violate(format!("{request:?}: members don't ask this by frames"));
            return;
        };
        let cut = self.dice.chance(5);
        let asker = Asker::Member(tag, question);
        self.ask_door(broker, link, asker, cut, |id| groups::asked(id, request));
    }

    /// A member asks any broker who coordinates its group.
    pub(crate) fn find_by_door(&mut self, broker: u32, tag: Tag) {
        let (link, group) = (self.link_of_member(tag.0), self.members[tag.0].group.clone());
        self.reset_links(tag.0, Some(broker));
        let asker = Asker::Member(tag, Question::Find);
        self.ask_door(broker, link, asker, false, |id| groups::find(id, &group));
    }

    /// Members have connections of their own, behind those of producers and the reader.
    fn link_of_member(&self, member: usize) -> usize {
        self.clients.len() + 1 + member
    }

    /// A member resets its connections, but for that to one broker.
    pub(crate) fn reset_links(&mut self, member: usize, but: Option<u32>) {
        let link = self.link_of_member(member);
        for (id, broker) in (0..).zip(&mut self.brokers) {
            if let Some(process) = broker.process.as_mut().filter(|_| but != Some(id)) {
                process.door.reset(link);
                process
                    .door
                    .told
                    .retain(|told, _| !matches!(told, Told::Commit((of, _)) if *of == member));
            }
        }
    }

    /// Writes a request to the door, or a part of it only, when the connection is lost.
    pub(crate) fn ask_door(
        &mut self,
        broker: u32,
        of: usize,
        asker: Asker,
        cut: bool,
        frame: impl FnOnce(i32) -> Option<Bytes>,
    ) {
        let most = self.dice.next();
        if !self.is_door_open(broker) {
            return;
        }
        let Some(process) = &mut self.brokers[broker as usize].process else { return };
        let link = process.door.link(of);
        link.next += 1;
        let id = link.next;
        let Some(mut frame) = frame(id) else {
            self.violate("a request can't be encoded".to_owned());
            return;
        };
        if cut {
            frame.truncate(usize::try_from(most).unwrap_or(0) % frame.len());
            link.out.extend_from_slice(&frame);
            link.write();
            process.door.links.remove(&of);
            self.faults.count("connection lost in a frame");
        } else {
            link.waits.insert(id, asker);
            link.out.extend_from_slice(&frame);
        }
        self.ring(broker);
    }

    /// A producer gives up waiting, and closes its connections.
    pub(crate) fn close_links(&mut self, of: usize) {
        for broker in &mut self.brokers {
            if let Some(process) = &mut broker.process {
                process.door.links.remove(&of);
            }
        }
    }

    pub(super) fn door_answered(
        &mut self,
        broker: u32,
        asker: Asker,
        frame: Bytes,
    ) -> Result<(), String> {
        match asker {
            Asker::Member((member, attempt), Question::Find) => {
                let found = groups::found(frame).ok_or("an answer to a search")?;
                let delay = 1 + self.dice.below(4);
                self.after(delay, Event::MemberFound { member, attempt, broker: found });
            }
            Asker::Waiter(number) => self.wait_ended(number, frame)?,
            Asker::Admin(deed) => self.deed_answered(broker, deed, frame)?,
            Asker::Member(tag, question) => self.group_answered(broker, tag, question, frame)?,
            Asker::Producer { client, attempt, value } => {
                let answer = frames::produced(frame).ok_or("an answer to a produce request")?;
                self.produced(broker, (client, attempt, value), answer);
            }
            Asker::Reader(stream) => {
                let piece = frames::fetched(frame).ok_or("an answer to a fetch request")?;
                let Some(piece) = piece else { return Ok(()) };
                self.faults.count("pieces read by a door");
                self.checker.judge_start(stream, piece.start)?;
                for (offset, value) in piece.batches.iter().map(placed) {
                    self.checker.read(stream, offset, value)?;
                }
            }
        }
        Ok(())
    }

    /// A member hears of its coordinator. What that said of a commit stands below the position that
    /// was noted when it said so.
    fn group_answered(
        &mut self,
        broker: u32,
        tag: Tag,
        question: Question,
        frame: Bytes,
    ) -> Result<(), String> {
        let answer = groups::answered(question, frame);
        let answer = answer.ok_or_else(|| format!("an answer to {question:?} of a member"))?;
        let process = self.brokers[broker as usize].process.as_mut();
        let told = process.and_then(|process| process.door.told.remove(&Told::Commit(tag)));
        if let Ok(Answer::CommitOffsets(results)) = &answer
            && results.iter().any(|(_, result)| result.is_ok())
            && told.is_none()
        {
            return Err(format!("{tag:?}: a door told of a commit that no coordinator answered"));
        }
        self.faults.count("answers to members by a door");
        let delay = 1 + self.dice.below(4);
        let (member, attempt) = tag;
        // Only of commits does it matter.
        let below = told.unwrap_or_default();
        self.after(delay, Event::MemberReply { member, attempt, below, answer });
        Ok(())
    }
}
