//! How a member asks: the coordinator that it knows, or any broker for one.

use holdfast_broker::driver::{Ask, Input};
use holdfast_protocol::group::Request;
use tokio::sync::oneshot;

use super::{PARTING, PAUSE_MS, Phase};
use crate::answer::{Awaited, Who};
use crate::door::Tag;
use crate::event::Event;
use crate::world::World;

/// A member waits this long to be told of a coordinator, ms.
const FIND_MS: u64 = 1_000;

impl World {
    /// Asks the coordinator. Who goes through the door and knows of none asks for that first, and
    /// then begins anew.
    pub(super) fn ask_coordinator(&mut self, number: usize, request: Request, timeout_ms: u64) {
        let known = self.members[number].coordinator;
        if known.is_none() && self.shape.joins_by_door(number) {
            self.find_coordinator(number);
            return;
        }
        let coordinator = known.or_else(|| self.leader_of(self.members[number].shard));
        let member = &mut self.members[number];
        member.coordinator = coordinator;
        member.attempt += 1;
        let attempt = member.attempt;
        if let Some(broker) = coordinator {
            let delay = 1 + self.dice.below(4);
            let request = Box::new(request);
            self.after(delay, Event::MemberRequest { member: number, attempt, broker, request });
        }
        self.after(timeout_ms, Event::MemberTimeout { member: number, attempt });
    }

    fn find_coordinator(&mut self, number: usize) {
        self.members[number].attempt += 1;
        let (attempt, broker) = (self.members[number].attempt, self.some_machine());
        let delay = 1 + self.dice.below(4);
        self.after(delay, Event::MemberFind { member: number, attempt, broker });
        self.after(FIND_MS, Event::MemberTimeout { member: number, attempt });
    }

    /// A broker is asked who coordinates a member's group.
    pub(crate) fn member_find(&mut self, tag: Tag, broker: u32) {
        let (member, attempt) = tag;
        if self.members[member].attempt != attempt {
            return;
        }
        if let Some(left) = self.is_paused(broker) {
            self.after(left, Event::MemberFind { member, attempt, broker });
        } else if !self.is_door_open(broker) {
            self.after(1, Event::MemberFound { member, attempt, broker: None });
        } else {
            self.find_by_door(broker, tag);
        }
    }

    /// A member is told who coordinates its group, if anybody does.
    pub(crate) fn member_found(
        &mut self,
        (number, attempt): Tag,
        broker: Option<u32>,
    ) -> Result<(), String> {
        let member = &mut self.members[number];
        if member.attempt != attempt {
            return Ok(());
        }
        member.coordinator = broker;
        if broker.is_some() {
            return self.member_step(number, attempt);
        }
        self.member_again(number, PAUSE_MS);
        Ok(())
    }

    /// A member's request arrives, perhaps late.
    pub(crate) fn member_request(
        &mut self,
        member: usize,
        attempt: u64,
        broker: u32,
        request: Box<Request>,
    ) {
        if let Some(left) = self.is_paused(broker) {
            self.after(left, Event::MemberRequest { member, attempt, broker, request });
            return;
        }
        // A commit that its member has given up may come late and take the place of a newer one of
        // the same generation, as in Kafka. Members here close the connection that it comes by, so
        // that it is not read.
        if let Request::CommitOffsets(commit) = &*request {
            let of = &self.members[member];
            let reads_on = of.phase == Phase::Reading && of.generation == commit.generation;
            if attempt != of.attempt && (attempt != PARTING || reads_on) {
                return;
            }
        }
        if self.shape.joins_by_door(member) {
            // The others were given up, too, and nobody begins to write what was given up.
            let is_awaited = attempt == self.members[member].attempt;
            if is_awaited || attempt == PARTING || matches!(*request, Request::Leave(_)) {
                self.group_by_door(broker, (member, attempt), &request);
            }
            return;
        }
        let shard = self.members[member].shard;
        let (reply, answer) = oneshot::channel();
        let ask = Input::Ask(Ask::Group(*request, reply));
        self.drive(broker, shard, |driver| driver.handle(ask));
        self.await_answer(broker, Who::Member { member, attempt }, Awaited::Group(answer));
    }

    /// No answer: it looks for the coordinator again.
    pub(crate) fn member_timeout(&mut self, number: usize, attempt: u64) -> Result<(), String> {
        if self.members[number].attempt == attempt {
            self.members[number].coordinator = None;
            self.reset_links(number, None);
            self.member_step(number, attempt)?;
        }
        Ok(())
    }
}
