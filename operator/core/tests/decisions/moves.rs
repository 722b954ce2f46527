//! Replicas go from broker to broker, one write at a time.

use holdfast_operator_core::{
    Action, Event, Input, IsrRequest, Message, Obstacle, Planner, Policy, Report, Time,
    WriteOutcome,
};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, ShardId, ShardRecord, Start, UncleanElection, Version,
};

use crate::{SHARD, WRITER, drain, member, record, report};

/// A store, a planner, and brokers that tell what they are told.
struct Cluster {
    planner: Planner,
    policy: Policy,
    stored: ShardRecord,
    /// The version that each broker knows.
    knows: Vec<Version>,
    now: Time,
}

/// Replicas, leader and in-sync replicas in a word: `012 0 01`.
fn brief(record: &ShardRecord) -> String {
    let digits = |ids: Vec<BrokerId>| ids.iter().map(ToString::to_string).collect::<String>();
    let leader = record.leader.map(|leader| leader.broker).into_iter().collect();
    let isr = record.isr.iter().map(|member| member.broker).collect();
    format!("{} {} {}", digits(record.replicas.clone()), digits(leader), digits(isr))
}

fn ids(of: &[u32]) -> Vec<BrokerId> {
    of.iter().copied().map(BrokerId).collect()
}

impl Cluster {
    /// Four brokers, of which `staying` stay; the first who holds the shard leads it.
    fn new(staying: u32, replicas: &[u8]) -> Self {
        let policy = Policy {
            brokers: 4,
            staying,
            replicas: 3,
            min_in_sync_replicas: 2,
            shards: 1,
            flush: FlushMode::Sync,
            detection_timeout_ms: 3000,
            move_back_after_ms: 2000,
            unclean_election: UncleanElection::Never,
        };
        let leader = member(replicas[0]);
        let stored = ShardRecord {
            epoch: Epoch(0).next_of(leader.broker),
            leader: Some(leader),
            replicas: replicas.iter().map(|id| BrokerId((*id).into())).collect(),
            ..record(1, replicas)
        };
        let planner = Planner::new(policy.clone(), vec![stored.clone()], Time(0), WRITER);
        let knows = vec![stored.version; 4];
        let mut cluster = Self { planner, policy, stored, knows, now: Time(0) };
        (0..4).for_each(|id| cluster.connect(id));
        cluster
    }

    fn connect(&mut self, id: u8) {
        let start = Start { broker: BrokerId(id.into()), counter: 0, process: 0 };
        self.planner.handle(Input::Connected { start, renewed: false }, self.now);
        self.tell(id, true);
    }

    /// `id` tells what it holds.
    fn tell(&mut self, id: u8, complete: bool) {
        let leads = self.stored.leader == Some(member(id));
        let epoch = self.stored.epoch;
        let told = Report {
            version: self.knows[usize::from(id)],
            epoch,
            leading: leads,
            leads_epoch: if leads { epoch } else { Epoch(0) },
            record: None,
            ..report(id)
        };
        let broker = BrokerId(id.into());
        self.planner.handle(Input::Reports { broker, reports: vec![told], complete }, self.now);
    }

    /// `id` hears of the record, and tells so.
    fn hear(&mut self, id: u8) {
        self.knows[usize::from(id)] = self.stored.version;
        self.tell(id, false);
    }

    fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
        for id in 0..4 {
            self.planner.handle(Input::Heard { broker: BrokerId(id) }, self.now);
        }
    }

    /// The record that is written next, in a word; nothing where none is.
    fn next(&mut self) -> String {
        let mut written = String::new();
        for action in drain(&mut self.planner) {
            let Action::Write { expected, record } = action else { continue };
            assert_eq!(expected, Some(self.stored.version));
            written = brief(&record);
            self.stored = record;
        }
        if !written.is_empty() {
            let outcome = WriteOutcome::Done;
            self.planner.handle(Input::Written { shard: SHARD, outcome }, self.now);
        }
        written
    }

    /// The leader wishes these in sync; whether that is written.
    fn wish(&mut self, isr: &[u8]) -> bool {
        let request = IsrRequest {
            broker: self.stored.leader.unwrap().broker,
            shard: SHARD,
            epoch: self.stored.epoch,
            expected: self.stored.version,
            isr: isr.iter().copied().map(member).collect(),
        };
        drain(&mut self.planner);
        self.planner.handle(Input::IsrRequest(request), self.now);
        let actions = drain(&mut self.planner);
        let Some(Action::Write { record, .. }) =
            actions.into_iter().find(|action| matches!(action, Action::Write { .. }))
        else {
            return false;
        };
        self.stored = record;
        let outcome = WriteOutcome::Done;
        self.planner.handle(Input::Written { shard: SHARD, outcome }, self.now);
        true
    }

    fn waits(&self) -> Option<Obstacle> {
        self.planner.status().moves.waits.map(|(_, obstacle)| obstacle)
    }

    /// Another operator, with another wish perhaps, that knows the store alone.
    fn another(&mut self, staying: u32) {
        self.policy.staying = staying;
        let records = vec![self.stored.clone()];
        self.planner = Planner::new(self.policy.clone(), records, self.now, WRITER);
        (0..4).for_each(|id| self.connect(id));
    }
}

#[test]
fn a_broker_is_drained_in_steps() {
    let mut cluster = Cluster::new(3, &[3, 0, 1]);
    assert_eq!(cluster.next(), "0123 3 301", "who comes is named, and nobody leaves");
    assert_eq!(cluster.waits(), Some(Obstacle::Behind(BrokerId(2))));
    for id in [0, 1, 2, 3] {
        cluster.hear(id);
    }
    assert!(cluster.wish(&[0, 1, 2, 3]));
    assert_eq!(cluster.next(), "", "they are not there for long enough to lead");
    assert_eq!(cluster.waits(), Some(Obstacle::Leader(BrokerId(0))));
    cluster.wait(2000);
    assert_eq!(cluster.next(), "0123 0 0123", "one who stays leads first");
    assert_eq!(cluster.next(), "", "and has to serve");
    cluster.hear(0);
    assert_eq!(cluster.next(), "012 0 012");
    let told = drain(&mut cluster.planner);
    let gone = Event::ReplicasMoved { shard: SHARD, gone: ids(&[3]), replicas: ids(&[0, 1, 2]) };
    assert!(told.contains(&Action::Tell(gone)), "{told:?}");
    assert_eq!(cluster.next(), "");
    assert_eq!(cluster.planner.status().moves.shards, 0);
}

#[test]
fn nobody_joins_before_enough_know_who_may() {
    let mut cluster = Cluster::new(3, &[0, 1, 3]);
    assert_eq!(cluster.next(), "0123 0 013");
    assert!(!cluster.wish(&[0, 1, 2, 3]), "nobody has told that it knows");
    cluster.hear(0);
    cluster.hear(2);
    assert!(!cluster.wish(&[0, 1, 2, 3]), "two that held the shard may not know");
    // Those who do may leave the others nobody to vouch for an old record with.
    cluster.hear(3);
    assert!(cluster.wish(&[0, 1, 2, 3]));
    assert_eq!(cluster.next(), "012 0 012");
}

#[test]
fn a_source_that_dies_is_left_out_and_a_target_that_dies_is_waited_for() {
    let mut cluster = Cluster::new(3, &[0, 1, 3]);
    assert_eq!(cluster.next(), "0123 0 013");
    for id in [0, 1, 2] {
        cluster.hear(id);
    }
    cluster.planner.handle(Input::Refused { broker: BrokerId(3) }, cluster.now);
    assert_eq!(cluster.next(), "0123 0 01", "fenced as ever");
    assert!(cluster.wish(&[0, 1, 2]));
    assert_eq!(cluster.next(), "012 0 012");

    let mut cluster = Cluster::new(3, &[0, 1, 3]);
    assert_eq!(cluster.next(), "0123 0 013");
    cluster.planner.handle(Input::Refused { broker: BrokerId(2) }, cluster.now);
    assert_eq!(cluster.next(), "");
    assert_eq!(cluster.waits(), Some(Obstacle::Away(BrokerId(2))));
}

#[test]
fn a_change_of_mind_leads_back_and_another_operator_goes_on() {
    let mut cluster = Cluster::new(3, &[0, 1, 3]);
    assert_eq!(cluster.next(), "0123 0 013");
    cluster.another(3);
    assert_eq!(cluster.next(), "", "it has been named already");
    cluster.another(4);
    // What was chosen stays chosen where it may: broker 3 leaves all the same.
    assert_eq!(cluster.next(), "");
    cluster.another(3);
    for id in [0, 1, 2, 3] {
        cluster.hear(id);
    }
    assert!(cluster.wish(&[0, 1, 2, 3]));
    assert_eq!(cluster.next(), "012 0 012");

    // The newcomer is one of those that are to go again.
    let mut cluster = Cluster::new(4, &[0, 1, 2]);
    cluster.stored.replicas = ids(&[0, 1, 3, 2]);
    cluster.another(3);
    assert_eq!(cluster.next(), "012 0 012");
}

#[test]
fn nothing_moves_where_it_could_do_harm() {
    // A newcomer that is not there.
    let mut cluster = Cluster::new(3, &[0, 1, 3]);
    drain(&mut cluster.planner);
    let mut planner =
        Planner::new(cluster.policy.clone(), vec![cluster.stored.clone()], Time(0), WRITER);
    std::mem::swap(&mut cluster.planner, &mut planner);
    [0, 1, 3].into_iter().for_each(|id| cluster.connect(id));
    assert_eq!(cluster.next(), "");
    assert_eq!(cluster.waits(), Some(Obstacle::Away(BrokerId(2))));
    // Too few in sync.
    cluster.planner.handle(Input::Refused { broker: BrokerId(3) }, cluster.now);
    assert_eq!(cluster.next(), "013 0 01");
    cluster.planner.handle(Input::Refused { broker: BrokerId(1) }, cluster.now);
    cluster.connect(2);
    assert_eq!(cluster.next(), "");
    assert_eq!(cluster.waits(), Some(Obstacle::Shard));
}

#[test]
fn a_minimum_above_the_replicas_is_met_by_newcomers() {
    let mut cluster = Cluster::new(3, &[0, 1]);
    cluster.stored.min_in_sync_replicas = 3;
    cluster.policy.min_in_sync_replicas = 3;
    cluster.another(3);
    assert_eq!(cluster.next(), "012 0 01");
    (0..3).for_each(|id| cluster.hear(id));
    assert!(cluster.wish(&[0, 1, 2]));
    assert_eq!(cluster.planner.status().moves.shards, 0);
}

#[test]
fn a_few_shards_move_at_a_time() {
    let cluster = Cluster::new(3, &[0, 1, 3]);
    let of = |shard| ShardRecord { shard: ShardId(shard), ..cluster.stored.clone() };
    let policy = Policy { shards: 9, ..cluster.policy.clone() };
    let mut planner = Planner::new(policy, (0..9).map(of).collect(), Time(0), WRITER);
    for id in 0..4_u8 {
        let broker = BrokerId(id.into());
        let start = Start { broker, counter: 0, process: 0 };
        planner.handle(Input::Connected { start, renewed: false }, Time(0));
        let epoch = cluster.stored.epoch;
        let leads = if id == 0 { epoch } else { Epoch(0) };
        let told = |shard| {
            let shard = ShardId(shard);
            Report { shard, epoch, leads_epoch: leads, record: None, ..report(id) }
        };
        let reports = (0..9).map(told).collect();
        planner.handle(Input::Reports { broker, reports, complete: true }, Time(0));
    }
    let named = |action: &Action| match action {
        Action::Write { record, .. } => record.replicas.len() == 4,
        Action::Send { message: Message::Records(_), .. }
        | Action::Send { .. }
        | Action::Read { .. }
        | Action::Redial { .. }
        | Action::Tell(_) => false,
    };
    assert_eq!(drain(&mut planner).iter().filter(|action| named(action)).count(), 4);
    assert_eq!(planner.status().moves.shards, 9);
}
