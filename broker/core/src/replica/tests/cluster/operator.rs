//! A stand-in for the operator: a record that is written by compare-and-swap, and what may be
//! asked of it. It elects and fences as it likes; only the rules hold it back.

use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, ShardId, ShardRecord, Version,
};

use crate::replica::IsrRequest;

/// The record and all its past.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    past: Vec<ShardRecord>,
}

impl Operator {
    pub(super) fn new(members: Vec<Member>, flush: FlushMode, minimum: u32) -> Self {
        let replicas: Vec<BrokerId> = members.iter().map(|member| member.broker).collect();
        let record = ShardRecord {
            shard: ShardId(0),
            version: Version { generation: 0, revision: 1, writer: 0 },
            epoch: Epoch(1),
            leader: members.first().copied(),
            isr: members,
            replicas,
            min_in_sync_replicas: minimum,
            flush,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
            lineage: Default::default(),
        };
        Self { past: vec![record] }
    }

    pub(super) fn record(&self) -> &ShardRecord {
        self.past.last().expect("there is always a record")
    }

    /// All records that ever were, for those who see an old one late.
    pub(super) fn past(&self) -> &[ShardRecord] {
        &self.past
    }

    fn write(&mut self, change: impl FnOnce(&mut ShardRecord)) {
        let mut next = self.record().clone();
        next.version = next.version.next();
        change(&mut next);
        self.past.push(next);
    }

    pub(super) fn elect(&mut self, leader: Member) {
        self.write(|record| {
            record.epoch = record.epoch.next_of(leader.broker);
            record.leader = Some(leader);
        });
    }

    /// No member of the in-sync replicas can lead: somebody else does, and it is recorded.
    pub(super) fn elect_unclean(&mut self, leader: Member) {
        self.write(|record| {
            record.epoch = record.epoch.next_of(leader.broker);
            record.leader = Some(leader);
            record.isr = vec![leader];
            record.unclean_epoch = Some(record.epoch);
        });
    }

    pub(super) fn vacate(&mut self) {
        self.write(|record| record.leader = None);
    }

    /// Takes a member out, but never below the minimum.
    pub(super) fn fence(&mut self, broker: BrokerId) {
        let record = self.record();
        let leads = record.leader.is_some_and(|leader| leader.broker == broker);
        if leads || record.isr.len() <= record.min_in_sync_replicas as usize {
            return;
        }
        self.write(|record| record.isr.retain(|member| member.broker != broker));
    }

    /// Writes the wish where it names the present record; `false`: it is refused.
    pub(super) fn handle_request(&mut self, from: BrokerId, request: IsrRequest) -> bool {
        let record = self.record();
        let Some(leader) = record.leader.filter(|leader| leader.broker == from) else {
            return false;
        };
        let (now, wanted) = (record.isr.len(), request.isr.len());
        let fits = record.version == request.expected
            && record.epoch == request.epoch
            && request.isr.contains(&leader)
            && (wanted >= record.min_in_sync_replicas as usize || wanted >= now);
        if fits {
            self.write(|record| record.isr = request.isr);
        }
        fits
    }

    /// Whether the recorded leader is this log.
    pub(super) fn leads(&self, broker: BrokerId, incarnation: Incarnation) -> bool {
        self.record().leader == Some(Member { broker, incarnation })
    }
}
