//! A coordinator with a clock, a log and a table of cursors around it, all fake.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use holdfast_protocol::Epoch;
use holdfast_protocol::group::{
    Answer, Describe, Description, Error, Generation, Heartbeat, Join, Joined, Leave, Leaver, Left,
    Protocol, Request, State, Sync, Synced,
};

use crate::group::{Coordinator, KeepError, KeepId, Output, Token};

pub(super) const SESSION_MS: u64 = 10_000;
pub(super) const REBALANCE_MS: u64 = 30_000;
pub(super) use crate::group::limits::INITIAL_REBALANCE_DELAY_MS;
/// After this, those who came together have joined.
pub(super) const FIRST_WAIT_MS: u64 = 2 * INITIAL_REBALANCE_DELAY_MS;
pub(super) const GROUP: &str = "g";

pub(super) struct Driver {
    pub(super) coordinator: Coordinator,
    pub(super) now_ms: u64,
    next_token: u64,
    asked: BTreeSet<Token>,
    answers: BTreeMap<Token, Result<Answer, Error>>,
    /// Whether changes wait for [`Driver::resolve`] instead of being committed at once.
    pub(super) holds_changes: bool,
    changes: VecDeque<Output>,
    /// The applied state: kept bytes by group.
    pub(super) kept: BTreeMap<String, Bytes>,
    /// The applied state: groups with cursors.
    pub(super) with_offsets: BTreeSet<String>,
}

impl Driver {
    pub(super) fn new() -> Self {
        let (coordinator, unreadable) = Coordinator::load(Epoch(1), 1_000, [], 7);
        assert_eq!(unreadable, []);
        Self {
            coordinator,
            now_ms: 1_000,
            next_token: 0,
            asked: BTreeSet::new(),
            answers: BTreeMap::new(),
            holds_changes: false,
            changes: VecDeque::new(),
            kept: BTreeMap::new(),
            with_offsets: BTreeSet::new(),
        }
    }

    /// Sends a request; its answer may come later.
    pub(super) fn send(&mut self, request: Request) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.asked.insert(token);
        self.coordinator.handle(self.now_ms, token, request);
        self.drain();
        token
    }

    /// Takes the answer, if there is one.
    pub(super) fn answer(&mut self, token: Token) -> Option<Result<Answer, Error>> {
        self.answers.remove(&token)
    }

    /// Sends a request that is answered at once.
    pub(super) fn ask(&mut self, request: Request) -> Result<Answer, Error> {
        let token = self.send(request);
        self.answer(token).expect("an answer at once")
    }

    /// Lets time pass, stopping wherever something is due.
    pub(super) fn advance(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(due_ms) = self.coordinator.next_deadline().filter(|due| *due <= end_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.tick();
            let next_ms = self.coordinator.next_deadline();
            assert!(next_ms.is_none_or(|next| next > self.now_ms), "something is still due");
        }
        self.now_ms = end_ms;
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        let with_offsets = &self.with_offsets;
        self.coordinator.tick(self.now_ms, |group| with_offsets.contains(group));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Answer { token, result } => self.answered(token, result),
                Output::Fetch { token, .. } => {
                    self.answered(token, Ok(Answer::FetchOffsets(Vec::new())));
                }
                change => {
                    self.changes.push_back(change);
                    if !self.holds_changes {
                        self.resolve_one(Ok(()));
                    }
                }
            }
        }
    }

    fn answered(&mut self, token: Token, result: Result<Answer, Error>) {
        assert!(self.asked.remove(&token), "{token:?} answered twice: {result:?}");
        self.answers.insert(token, result);
    }

    /// How many changes wait for the log.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The oldest change is committed, or fails.
    pub(super) fn resolve_one(&mut self, result: Result<(), KeepError>) {
        let Some(change) = self.changes.pop_front() else {
            return;
        };
        let keep_id = self.apply(change, result.is_ok());
        self.coordinator.handle_kept(self.now_ms, keep_id, result);
        self.drain();
    }

    /// All changes are committed, or fail, with those that follow from them.
    pub(super) fn resolve(&mut self, result: Result<(), KeepError>) {
        while !self.changes.is_empty() {
            self.resolve_one(result);
        }
    }

    fn apply(&mut self, change: Output, is_committed: bool) -> KeepId {
        match change {
            Output::Keep { keep_id, group, state } => {
                if is_committed {
                    self.kept.insert(group, state);
                }
                keep_id
            }
            Output::Commit { keep_id, command } => {
                if is_committed {
                    self.kept.entry(command.group.clone()).or_default();
                    self.with_offsets.insert(command.group);
                }
                keep_id
            }
            Output::Drop { keep_id, command } => {
                if is_committed && command.group_too {
                    self.kept.remove(&command.group);
                    self.with_offsets.remove(&command.group);
                }
                keep_id
            }
            Output::Answer { .. } | Output::Fetch { .. } => unreachable!("not a change"),
        }
    }

    /// Another broker takes over, from the applied state.
    pub(super) fn fail_over(&mut self, epoch: u32) {
        let (next, unreadable) = Coordinator::load(Epoch(epoch), self.now_ms, self.kept.clone(), 7);
        assert_eq!(unreadable, []);
        let last = std::mem::replace(&mut self.coordinator, next);
        for (token, result) in last.resign() {
            self.answered(token, result);
        }
        assert_eq!(self.asked, BTreeSet::new(), "resigning answers everyone");
        self.changes.clear();
    }

    /// Requests without an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn describe(&mut self, group: &str) -> Result<Description, Error> {
        let groups = vec![group.to_owned()];
        match self.ask(Request::Describe(Describe { groups })) {
            Ok(Answer::Describe(mut described)) => described.remove(0).result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self) -> State {
        self.describe(GROUP).unwrap().state
    }

    /// The answer to a join that is answered by now.
    pub(super) fn joined(&mut self, token: Token) -> Joined {
        match self.answer(token) {
            Some(Ok(Answer::Join(joined))) => joined,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn synced(&mut self, token: Token) -> Synced {
        match self.answer(token) {
            Some(Ok(Answer::Sync(synced))) => synced,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn error(&mut self, token: Token) -> Error {
        match self.answer(token) {
            Some(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// An id for a member that is to join.
    pub(super) fn member_id(&mut self) -> String {
        self.member_id_for(&["range"])
    }

    /// An id for a member that knows these protocols.
    pub(super) fn member_id_for(&mut self, names: &[&str]) -> String {
        match self.ask(join_with("", names)) {
            Err(Error::MemberIdRequired { member }) => member,
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of `count` members that came together; the leader first.
    pub(super) fn stable(&mut self, count: usize) -> (Generation, Vec<String>) {
        let ids: Vec<String> = (0..count).map(|_| self.member_id()).collect();
        let tokens: Vec<Token> = ids.iter().map(|id| self.send(join(id))).collect();
        self.advance(FIRST_WAIT_MS);
        self.sync_all(&tokens)
    }

    /// Syncs those whose joins were `tokens`; the leader first.
    pub(super) fn sync_all(&mut self, tokens: &[Token]) -> (Generation, Vec<String>) {
        let joined: Vec<Joined> = tokens.iter().map(|token| self.joined(*token)).collect();
        let (generation, leader) = (joined[0].generation, joined[0].leader.clone());
        let mut ids: Vec<String> = joined.into_iter().map(|joined| joined.member).collect();
        ids.sort_by_key(|id| *id != leader);
        let syncs: Vec<Token> =
            ids.iter().map(|id| self.send(sync(generation, id, &ids))).collect();
        for (token, id) in syncs.into_iter().zip(&ids) {
            assert_eq!(self.synced(token).assignment, id.as_bytes());
        }
        assert_eq!(self.state(), State::Stable);
        (generation, ids)
    }

    pub(super) fn heartbeat(&mut self, generation: Generation, id: &str) -> Result<Answer, Error> {
        self.ask(heartbeat(generation, id))
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Left> {
        let leavers = members.iter().map(|(member, instance)| Leaver {
            member: (*member).to_owned(),
            instance: instance.map(str::to_owned),
            reason: None,
        });
        let request = Request::Leave(Leave { group: GROUP.to_owned(), members: leavers.collect() });
        match self.ask(request) {
            Ok(Answer::Leave(left)) => left,
            other => panic!("{other:?}"),
        }
    }
}

/// What a consumer of `topics` says.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&[0xff; 4]);
    Bytes::from(bytes)
}

pub(super) fn protocols(names: &[&str]) -> Vec<Protocol> {
    names
        .iter()
        .map(|name| Protocol { name: (*name).to_owned(), metadata: subscription(&["orders"]) })
        .collect()
}

pub(super) fn joining(member: &str) -> Join {
    Join {
        group: GROUP.to_owned(),
        member: member.to_owned(),
        client_id: "app".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: u32::try_from(SESSION_MS).unwrap(),
        rebalance_timeout_ms: u32::try_from(REBALANCE_MS).unwrap(),
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        require_known_member_id: true,
        supports_skip_assignment: true,
        ..Join::default()
    }
}

pub(super) fn join(member: &str) -> Request {
    Request::Join(joining(member))
}

pub(super) fn join_with(member: &str, names: &[&str]) -> Request {
    Request::Join(Join { protocols: protocols(names), ..joining(member) })
}

pub(super) fn join_static(member: &str, instance: &str) -> Join {
    Join { instance: Some(instance.to_owned()), ..joining(member) }
}

/// A sync that assigns each of `assigned` its own name.
pub(super) fn sync(generation: Generation, member: &str, assigned: &[String]) -> Request {
    let assignments = assigned.iter();
    Request::Sync(Sync {
        group: GROUP.to_owned(),
        generation,
        member: member.to_owned(),
        assignments: assignments.map(|id| (id.clone(), Bytes::from(id.clone()))).collect(),
        ..Sync::default()
    })
}

pub(super) fn heartbeat(generation: Generation, member: &str) -> Request {
    Request::Heartbeat(Heartbeat {
        group: GROUP.to_owned(),
        generation,
        member: member.to_owned(),
        instance: None,
    })
}
