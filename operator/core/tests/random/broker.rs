//! A broker as the planner can tell: what it has persisted, what it leads, how far its logs go.

use std::collections::{BTreeMap, VecDeque};

use holdfast_operator_core::{Input, Message, Report};
use holdfast_protocol::{
    BrokerId, Epoch, Incarnation, Member, Position, ShardId, ShardRecord, Start,
};

#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) incarnation: Incarnation,
    pub(crate) record: Option<ShardRecord>,
    pub(crate) leads: Epoch,
    pub(crate) end: Position,
    pub(crate) last_epoch: Epoch,
}

pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) runs: bool,
    pub(crate) failed: bool,
    boot: u64,
    renewals: u8,
    pub(crate) replicas: BTreeMap<ShardId, Replica>,
    /// Messages to it; empty without a session.
    pub(crate) inbox: VecDeque<Message>,
    /// What it said and nobody has heard yet.
    pub(crate) said: VecDeque<Input>,
    pub(crate) session: bool,
}

impl Broker {
    pub(crate) fn new(id: u32, shards: u32) -> Self {
        let mut broker = Self {
            id: BrokerId(id),
            runs: true,
            failed: false,
            boot: 1,
            renewals: 0,
            replicas: BTreeMap::new(),
            inbox: VecDeque::new(),
            said: VecDeque::new(),
            session: false,
        };
        for shard in 0..shards {
            let replica = Replica {
                incarnation: broker.draw(),
                record: None,
                leads: Epoch(0),
                end: Position(0),
                last_epoch: Epoch(0),
            };
            broker.replicas.insert(ShardId(shard), replica);
        }
        broker
    }

    fn draw(&mut self) -> Incarnation {
        self.renewals += 1;
        let mut bytes = [0; 16];
        bytes[0] = u8::try_from(self.id.0).unwrap();
        bytes[1] = self.renewals;
        Incarnation(bytes)
    }

    pub(crate) fn member(&self, shard: ShardId) -> Member {
        Member { broker: self.id, incarnation: self.replicas[&shard].incarnation }
    }

    pub(crate) fn crash(&mut self) {
        self.runs = false;
        self.drop_session();
        for replica in self.replicas.values_mut() {
            replica.leads = Epoch(0);
        }
    }

    /// Starts it; where it may have lost something, its logs are others.
    pub(crate) fn start(&mut self, lossy: bool) {
        self.runs = true;
        self.boot += 1;
        if lossy && self.renewals < 250 {
            let shards: Vec<ShardId> = self.replicas.keys().copied().collect();
            for shard in shards {
                let incarnation = self.draw();
                let replica = self.replicas.get_mut(&shard).unwrap();
                replica.incarnation = incarnation;
                replica.end = Position(replica.end.0 / 2);
            }
        }
    }

    pub(crate) fn drop_session(&mut self) {
        self.session = false;
        self.inbox.clear();
        self.said.clear();
    }

    pub(crate) fn connect(&mut self) {
        self.drop_session();
        self.session = true;
        let start = Start { broker: self.id, counter: self.boot, process: self.boot };
        self.said.push_back(Input::Connected { start, renewed: false });
        self.report(true, &[]);
    }

    pub(crate) fn report(&mut self, complete: bool, shards: &[ShardId]) {
        if !self.session {
            return;
        }
        let of = self.replicas.iter().filter(|(id, _)| complete || shards.contains(id));
        let report = |(id, replica): (&ShardId, &Replica)| {
            let record = replica.record.as_ref();
            Report {
                shard: *id,
                incarnation: replica.incarnation,
                version: record.map(|record| record.version).unwrap_or_default(),
                epoch: record.map(|record| record.epoch).unwrap_or_default(),
                leading: replica.leads > Epoch(0),
                leads_epoch: replica.leads,
                end: replica.end,
                last_epoch: replica.last_epoch,
                committed: Position(0),
                held: replica.end,
                failure: self.failed.then(|| "disk full".to_owned()),
                record: record.cloned(),
            }
        };
        let reports = of.map(report).collect();
        self.said.push_back(Input::Reports { broker: self.id, reports, complete });
    }

    /// Takes the next message. Records that do not follow the persisted one are ignored.
    pub(crate) fn deliver(&mut self) {
        let records = match self.inbox.pop_front() {
            Some(Message::Records(records)) => records,
            Some(Message::IsrAnswer { record, .. }) => record.into_iter().collect(),
            // Its volume only counts on.
            Some(Message::RenewVolume { .. }) | None => return,
        };
        let mut shards = Vec::new();
        for record in records {
            let me = self.member(record.shard);
            let replica = self.replicas.get_mut(&record.shard).unwrap();
            let known = replica.record.as_ref();
            let newer = record.epoch > known.map_or(Epoch(0), |known| known.epoch);
            shards.push(record.shard);
            if known.is_some_and(|known| !record.follows(known) || record.epoch < known.epoch) {
                continue;
            }
            if record.leader != Some(me) {
                replica.leads = Epoch(0);
            } else if newer {
                replica.leads = record.epoch;
                replica.end = replica.end.next();
                replica.last_epoch = record.epoch;
            }
            replica.record = Some(record);
        }
        self.report(false, &shards);
    }
}
