//! The planner, its store, its brokers, and time.

use std::collections::{BTreeMap, VecDeque};

use holdfast_operator_core::{
    Action, Input, IsrRequest, Planner, Policy, ShardCondition, ShardStatus, Time, WriteOutcome,
};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, ShardId, ShardRecord, UncleanElection, Version,
};

use crate::broker::Broker;
use crate::rules::Rules;
use crate::{Step, StoreEnd};

const BROKERS: u32 = 4;
const SHARDS: u32 = 2;

enum Call {
    Swap(Option<Version>, Box<ShardRecord>),
    Read(ShardId),
}

impl Call {
    fn shard(&self) -> ShardId {
        match self {
            Self::Swap(_, record) => record.shard,
            Self::Read(shard) => *shard,
        }
    }
}

pub(crate) struct World {
    planner: Planner,
    policy: Policy,
    now: Time,
    brokers: Vec<Broker>,
    store: BTreeMap<ShardId, ShardRecord>,
    history: BTreeMap<ShardId, Vec<ShardRecord>>,
    calls: VecDeque<Call>,
    rules: Rules,
    /// Incarnations as the planner heard them last, of brokers whose session it knows.
    heard: BTreeMap<(BrokerId, ShardId), Incarnation>,
    /// How many planners there were.
    planners: u64,
    /// The newest write that was planned of each shard.
    planned: BTreeMap<ShardId, ShardRecord>,
    /// What was decided last under each version.
    decided: BTreeMap<(ShardId, Version), ShardRecord>,
    trace: Vec<Action>,
}

impl World {
    pub(crate) fn new(unclean: UncleanElection) -> Self {
        let policy = Policy {
            brokers: BROKERS,
            staying: 3,
            replicas: 3,
            min_in_sync_replicas: 2,
            shards: SHARDS,
            flush: FlushMode::Sync,
            detection_timeout_ms: 3000,
            move_back_after_ms: 2000,
            unclean_election: unclean,
        };
        Self {
            planner: Planner::new(policy.clone(), Vec::new(), Time(0), 1),
            policy,
            now: Time(0),
            brokers: (0..BROKERS).map(|id| Broker::new(id, SHARDS)).collect(),
            store: BTreeMap::new(),
            history: BTreeMap::new(),
            calls: VecDeque::new(),
            rules: Rules::default(),
            heard: BTreeMap::new(),
            planners: 1,
            planned: BTreeMap::new(),
            decided: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    pub(crate) fn trace(&self) -> &[Action] {
        &self.trace
    }

    fn broker(&mut self, id: u32) -> &mut Broker {
        &mut self.brokers[id as usize]
    }

    pub(crate) fn take(&mut self, step: &Step) {
        match *step {
            Step::Crash { broker } => self.broker(broker).crash(),
            Step::Start { broker, lossy } => {
                if !self.broker(broker).runs {
                    self.broker(broker).start(lossy);
                }
            }
            Step::Connect { broker } => {
                if self.broker(broker).runs && !self.broker(broker).session {
                    self.tell(Input::Broken { broker: BrokerId(broker) });
                    self.broker(broker).connect();
                }
            }
            Step::Break { broker } => {
                self.broker(broker).drop_session();
                self.tell(Input::Broken { broker: BrokerId(broker) });
            }
            Step::Refuse { broker } => {
                if !self.broker(broker).runs {
                    self.tell(Input::Refused { broker: BrokerId(broker) });
                }
            }
            Step::Deliver { broker } => self.broker(broker).deliver(),
            Step::Hear { broker } => self.hear(broker),
            Step::Store { end } => self.call(end),
            Step::Append { shard, replicas } => self.append(ShardId(shard), replicas),
            Step::AskIsr { shard, members } => self.ask_isr(ShardId(shard), members),
            Step::Resign { shard } => self.resign(ShardId(shard)),
            Step::Fail { broker, failed } => {
                self.broker(broker).failed = failed;
                self.broker(broker).report(true, &[]);
            }
            Step::PrepareStop { broker } => {
                self.tell(Input::PrepareStop { broker: BrokerId(broker) });
            }
            Step::Wait { ms } => {
                self.now.0 += ms;
                self.tell(Input::Tick);
            }
            Step::Replace => self.replace(),
            Step::Want { staying, replicas } => {
                self.policy = Policy { staying, replicas, ..self.policy.clone() };
                self.replace();
            }
            Step::RollBack { shard, by } => self.roll_back(ShardId(shard), by),
        }
    }

    fn tell(&mut self, input: Input) {
        if let Input::Reports { broker, reports, complete } = &input {
            if *complete {
                self.heard.retain(|(of, _), _| of != broker);
            }
            for report in reports {
                self.heard.insert((*broker, report.shard), report.incarnation);
            }
        }
        self.planner.handle(input, self.now);
        while let Some(action) = self.planner.poll_action() {
            self.trace.push(action.clone());
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write { expected, record } => {
                // A write whose end is unknown is repeated as it was decided.
                let name = (record.shard, record.version);
                match self.decided.insert(name, record.clone()) {
                    Some(earlier) => assert_eq!(earlier, record, "one name for two records"),
                    None => self.check_election(&record),
                }
                self.begin(Call::Swap(expected, Box::new(record)));
            }
            Action::Read { shard } => self.begin(Call::Read(shard)),
            Action::Send { broker, message } => {
                let broker = self.broker(broker.0);
                if broker.session {
                    broker.inbox.push_back(message);
                }
            }
            Action::Redial { broker } => self.broker(broker.0).drop_session(),
            Action::Tell(_) => {}
        }
    }

    /// Calls end in any order, and say no more of which they are than the shard.
    fn begin(&mut self, call: Call) {
        let same = |other: &Call| other.shard() == call.shard();
        assert!(!self.calls.iter().any(same), "one call of a shard at a time");
        self.calls.push_back(call);
    }

    /// Whoever is elected was heard of under that incarnation when the election was planned. A
    /// write whose fate is unknown is repeated as it was, whatever was heard since: it may be in
    /// the store already, and a leader under another incarnation does not lead.
    fn check_election(&mut self, record: &ShardRecord) {
        if self.planned.insert(record.shard, record.clone()).as_ref() == Some(record) {
            return;
        }
        let known = self.planner.records().find(|known| known.shard == record.shard);
        let elected = known.is_some_and(|known| known.epoch < record.epoch)
            && known.is_some_and(|k| k.version.generation == record.version.generation);
        if let Some(leader) = record.leader.filter(|_| elected) {
            let heard = self.heard.get(&(leader.broker, record.shard));
            assert_eq!(heard, Some(&leader.incarnation), "elected unheard: {record:?}");
        }
    }

    fn hear(&mut self, broker: u32) {
        if let Some(input) = self.broker(broker).said.pop_front() {
            self.tell(input);
        }
    }

    fn call(&mut self, end: StoreEnd) {
        match self.calls.pop_front() {
            Some(Call::Read(shard)) => {
                let record = self.store.get(&shard).cloned();
                self.tell(Input::Read { shard, record });
            }
            Some(Call::Swap(expected, record)) => {
                let shard = record.shard;
                let outcome = match end {
                    StoreEnd::Done => self.swap(expected, *record),
                    StoreEnd::Lost => {
                        self.swap(expected, *record);
                        WriteOutcome::Unknown
                    }
                    StoreEnd::Never => WriteOutcome::Unknown,
                };
                self.tell(Input::Written { shard, outcome });
            }
            None => {}
        }
    }

    fn swap(&mut self, expected: Option<Version>, record: ShardRecord) -> WriteOutcome {
        let current = self.store.get(&record.shard);
        if current.map(|current| current.version) != expected {
            return WriteOutcome::Conflict(current.cloned());
        }
        let unclean = self.policy.unclean_election;
        self.rules.judge(current, &record, unclean);
        self.history.entry(record.shard).or_default().push(record.clone());
        self.store.insert(record.shard, record);
        WriteOutcome::Done
    }

    /// The leader that knows that it leads, if it has a session.
    fn leader(&self, shard: ShardId) -> Option<usize> {
        let leads = |broker: &Broker| broker.replicas[&shard].leads;
        let best = (0..self.brokers.len()).max_by_key(|i| leads(&self.brokers[*i]))?;
        (leads(&self.brokers[best]) > Epoch(0)).then_some(best)
    }

    fn append(&mut self, shard: ShardId, replicas: u8) {
        let Some(leader) = self.leader(shard) else { return };
        let at = self.brokers[leader].replicas.get_mut(&shard).unwrap();
        at.end = at.end.next();
        let (end, epoch) = (at.end, at.leads);
        for (index, broker) in self.brokers.iter_mut().enumerate() {
            if broker.runs && replicas & (1 << index) != 0 {
                let replica = broker.replicas.get_mut(&shard).unwrap();
                replica.end = end;
                replica.last_epoch = epoch;
            }
            broker.report(false, &[shard]);
        }
    }

    fn ask_isr(&mut self, shard: ShardId, members: u8) {
        let Some(leader) = self.leader(shard) else { return };
        let Some(record) = self.brokers[leader].replicas[&shard].record.clone() else { return };
        let member = |broker: &Broker| broker.member(shard);
        let chosen = self.brokers.iter().filter(|b| members & (1 << b.id.0) != 0);
        let isr: Vec<Member> = chosen.map(member).collect();
        self.rules.asked.push((shard, record.version, isr.clone()));
        let broker = &mut self.brokers[leader];
        if broker.session {
            let (expected, epoch, id) = (record.version, record.epoch, broker.id);
            let request = IsrRequest { broker: id, shard, epoch, expected, isr };
            broker.said.push_back(Input::IsrRequest(request));
        }
    }

    fn resign(&mut self, shard: ShardId) {
        let Some(leader) = self.leader(shard) else { return };
        let broker = &mut self.brokers[leader];
        let epoch = broker.replicas[&shard].leads;
        let reason = "disk".to_owned();
        if broker.session {
            broker.said.push_back(Input::Resign { broker: broker.id, shard, epoch, reason });
        }
    }

    fn replace(&mut self) {
        // What the old one asked of the store may still happen, but nobody hears of it.
        while let Some(call) = self.calls.pop_front() {
            if let Call::Swap(expected, record) = call {
                self.swap(expected, *record);
            }
        }
        for broker in &mut self.brokers {
            broker.drop_session();
        }
        self.heard.clear();
        let records = self.store.values().cloned().collect();
        self.planners += 1;
        self.planner = Planner::new(self.policy.clone(), records, self.now, self.planners);
    }

    fn roll_back(&mut self, shard: ShardId, by: usize) {
        let Some(history) = self.history.get_mut(&shard) else { return };
        let keep = history.len().saturating_sub(by);
        history.truncate(keep);
        match history.last() {
            Some(record) => drop(self.store.insert(shard, record.clone())),
            None => drop(self.store.remove(&shard)),
        }
        // What is written from here on is another history.
        self.rules.written.clear();
    }

    /// Everybody comes back and hears everything, until nothing happens any more.
    pub(crate) fn settle(&mut self) {
        for id in 0..BROKERS {
            let broker = self.broker(id);
            broker.failed = false;
            if !broker.runs {
                broker.start(false);
            }
            // Another process: whatever was prepared for the last is forgotten.
            broker.crash();
            broker.start(false);
        }
        for _ in 0..60 {
            for id in 0..BROKERS {
                if !self.broker(id).session {
                    self.tell(Input::Broken { broker: BrokerId(id) });
                    self.broker(id).connect();
                }
                self.tell(Input::Heard { broker: BrokerId(id) });
            }
            for _ in 0..40 {
                let said = |b: &Broker| !b.said.is_empty() || !b.inbox.is_empty();
                if self.calls.is_empty() && !self.brokers.iter().any(said) {
                    break;
                }
                for id in 0..BROKERS {
                    self.hear(id);
                    self.broker(id).deliver();
                }
                self.call(StoreEnd::Done);
            }
            self.now.0 += 1000;
            self.tell(Input::Tick);
            // Whoever holds a shard has caught up by now.
            let records: Vec<ShardRecord> = self.store.values().cloned().collect();
            for record in records {
                self.append(record.shard, u8::MAX);
                let bits = record.replicas.iter().map(|broker| 1_u8 << broker.0);
                self.ask_isr(record.shard, bits.sum());
            }
        }
    }

    /// Where every shard is served, its replicas are where they are wanted, and all in sync.
    pub(crate) fn expect_placement(&self) {
        let status = self.planner.status();
        let served = |shard: &ShardStatus| shard.condition == ShardCondition::Serving;
        if !status.shards.iter().all(served) {
            return;
        }
        assert_eq!(status.moves.shards, 0, "{:#?}", (&status.moves, &self.store));
        for record in self.store.values() {
            let mut isr: Vec<BrokerId> = record.isr.iter().map(|member| member.broker).collect();
            let mut replicas = record.replicas.clone();
            isr.sort_unstable();
            replicas.sort_unstable();
            assert_eq!(isr, replicas, "{record:#?}");
            assert_eq!(replicas.len(), self.policy.replicas as usize, "{record:#?}");
            assert!(replicas.iter().all(|broker| broker.0 < self.policy.staying), "{record:#?}");
        }
    }

    /// Each shard that can have a leader has one that knows it.
    pub(crate) fn expect_leaders(&self) {
        for status in self.planner.status().shards {
            let record = status.record.clone().expect("a settled cluster has all records");
            let intact = |member: &&Member| {
                self.brokers[member.broker.0 as usize].member(status.id) == **member
            };
            let possible = record.isr.iter().any(|member| intact(&member))
                || self.policy.unclean_election == UncleanElection::AllReported;
            let served = status.condition == ShardCondition::Serving;
            assert_eq!(served, possible, "{status:#?}");
        }
    }

    /// Store, operator and brokers know the same records, in epochs newer than any seen before.
    pub(crate) fn expect_agreement(&self) {
        for (shard, record) in &self.store {
            let known = self.planner.records().find(|known| known.shard == *shard);
            assert_eq!(known, Some(record));
            for broker in &self.brokers {
                assert_eq!(broker.replicas[shard].record.as_ref(), Some(record));
            }
        }
    }
}
