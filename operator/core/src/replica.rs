//! One replica as elections see it: what the record says of it, against what its broker says.

use holdfast_protocol::{BrokerId, Member, ShardRecord};

use crate::broker::Liveness;
use crate::input::Report;
use crate::rules::{Rule, Rules};

/// A broker in its role as holder of one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) broker: BrokerId,
    pub(crate) liveness: Liveness,
    /// What it reported last of the shard, in this session or in one before.
    pub(crate) report: Option<&'a Report>,
    /// Its leaderships go elsewhere where they can.
    pub(crate) stopping: bool,
    /// It said lately that it can't lead this shard: others are better.
    pub(crate) resigned: bool,
    /// It said so of the present epoch.
    pub(crate) gave_up: bool,
    /// It did not say so just now.
    pub(crate) rested: bool,
    /// It seems to lack what was committed in sync with it.
    pub(crate) doubted: bool,
    /// How many other shards it leads.
    pub(crate) leads: usize,
    /// What the planner keeps to.
    pub(crate) rules: Rules,
}

impl Holder<'_> {
    /// The replica as its broker reported it.
    pub(crate) fn member(&self) -> Option<Member> {
        let report = self.report?;
        Some(Member { broker: self.broker, incarnation: report.incarnation })
    }
}

/// What has become of a member of the in-sync replicas. The order is the one in which members
/// are fenced: those first that can't come back as what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Its broker lives, with another log.
    Replaced,
    /// Its disk failed or is full.
    Failed,
    /// Its broker is dead.
    Dead,
    /// Not known yet.
    Unsure,
    /// It could lead.
    Able,
}

impl Standing {
    /// Whether it is known that the member can't take part now.
    pub(crate) fn is_lost(self) -> bool {
        match self {
            Self::Replaced | Self::Failed | Self::Dead => true,
            Self::Unsure | Self::Able => false,
        }
    }
}

/// The standing of `member` among `holders`.
pub(crate) fn standing(member: Member, holders: &[Holder<'_>]) -> Standing {
    let Some(holder) = find(member.broker, holders) else {
        return Standing::Dead;
    };
    match (holder.liveness, holder.report) {
        (Liveness::Dead(_), _) => Standing::Dead,
        (Liveness::Unsure, _) => Standing::Unsure,
        (Liveness::Live, Some(report))
            if report.incarnation == member.incarnation
                || !holder.rules.keep(Rule::MatchIncarnation) =>
        {
            match report.failure {
                Some(_) => Standing::Failed,
                None if holder.doubted => Standing::Unsure,
                None => Standing::Able,
            }
        }
        (Liveness::Live, _) => Standing::Replaced,
    }
}

/// Whether the planner keeps to `rule`.
pub(crate) fn keeps(holders: &[Holder<'_>], rule: Rule) -> bool {
    holders.iter().all(|holder| holder.rules.keep(rule))
}

pub(crate) fn find<'h, 'a>(broker: BrokerId, holders: &'h [Holder<'a>]) -> Option<&'h Holder<'a>> {
    holders.iter().find(|holder| holder.broker == broker)
}

/// All brokers that the record names, the preferred leader first.
pub(crate) fn named(record: &ShardRecord) -> Vec<BrokerId> {
    let mut brokers = record.replicas.clone();
    for member in &record.isr {
        if !brokers.contains(&member.broker) {
            brokers.push(member.broker);
        }
    }
    brokers
}
