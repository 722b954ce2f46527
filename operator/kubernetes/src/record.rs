//! Shard records as resources, and back.

use holdfast_api::policy::FlushMode as ApiFlush;
use holdfast_api::shard::{
    Left as ApiLeft, Member as ApiMember, PossibleLoss, Run as ApiRun, ShardSpec, Start as ApiStart,
};
use holdfast_protocol::ids::ParseUuidError;
use holdfast_protocol::lineage::{Left, Lineage, Run};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, LossRange, Member, Position, ShardId, ShardRecord,
    Start, Version,
};

/// What the Shard resource of `record` wants.
pub(crate) fn spec(policy: &str, record: &ShardRecord) -> ShardSpec {
    let member = |member: &Member| ApiMember {
        broker: member.broker.0,
        incarnation: member.incarnation.to_string(),
    };
    let start = |start: &Start| ApiStart {
        broker: start.broker.0,
        counter: start.counter,
        process: start.process,
    };
    ShardSpec {
        policy: policy.to_owned(),
        shard: record.shard.0,
        generation: record.version.generation,
        revision: record.version.revision,
        writer: record.version.writer,
        ancestors: record.lineage.runs.iter().map(run).collect(),
        left: record.lineage.left.iter().map(left).collect(),
        epoch: record.epoch.0,
        unclean_epoch: record.unclean_epoch.map(|epoch| epoch.0),
        possible_loss: record.loss.map(|loss| PossibleLoss { from: loss.from.0, to: loss.to.0 }),
        starts: record.starts.iter().map(start).collect(),
        leader: record.leader.as_ref().map(member),
        isr: record.isr.iter().map(member).collect(),
        replicas: record.replicas.iter().map(|broker| broker.0).collect(),
        min_in_sync_replicas: record.min_in_sync_replicas,
        flush: match record.flush {
            FlushMode::Sync => ApiFlush::Sync,
            FlushMode::Async => ApiFlush::Async,
        },
    }
}

fn run(run: &Run) -> ApiRun {
    let Version { generation, revision, writer } = run.first;
    ApiRun { generation, from: revision, to: run.last, writer }
}

fn left(left: &Left) -> ApiLeft {
    let Version { generation, revision, writer } = left.root;
    ApiLeft { generation, revision, writer, by: left.by }
}

fn lineage(spec: &ShardSpec) -> Lineage {
    let run = |run: &ApiRun| {
        let ApiRun { generation, from, to, writer } = *run;
        Run { first: Version { generation, revision: from, writer }, last: to }
    };
    let left = |left: &ApiLeft| {
        let ApiLeft { generation, revision, writer, by } = *left;
        Left { root: Version { generation, revision, writer }, by }
    };
    Lineage {
        runs: spec.ancestors.iter().map(run).collect(),
        left: spec.left.iter().map(left).collect(),
    }
}

/// The version of the record in a Shard resource.
pub(crate) fn version(spec: &ShardSpec) -> Version {
    Version { generation: spec.generation, revision: spec.revision, writer: spec.writer }
}

/// The record in a Shard resource.
///
/// # Errors
/// Where an incarnation is no UUID.
pub(crate) fn record(spec: &ShardSpec) -> Result<ShardRecord, ParseUuidError> {
    let member = |member: &ApiMember| {
        let incarnation = Incarnation::try_from(member.incarnation.clone())?;
        Ok(Member { broker: BrokerId(member.broker), incarnation })
    };
    let start = |start: &ApiStart| Start {
        broker: BrokerId(start.broker),
        counter: start.counter,
        process: start.process,
    };
    Ok(ShardRecord {
        shard: ShardId(spec.shard),
        version: version(spec),
        epoch: Epoch(spec.epoch),
        leader: spec.leader.as_ref().map(member).transpose()?,
        isr: spec.isr.iter().map(member).collect::<Result<_, _>>()?,
        replicas: spec.replicas.iter().copied().map(BrokerId).collect(),
        min_in_sync_replicas: spec.min_in_sync_replicas,
        flush: match spec.flush {
            ApiFlush::Sync => FlushMode::Sync,
            ApiFlush::Async => FlushMode::Async,
        },
        unclean_epoch: spec.unclean_epoch.map(Epoch),
        loss: spec
            .possible_loss
            .as_ref()
            .map(|loss| LossRange { from: Position(loss.from), to: Position(loss.to) }),
        starts: spec.starts.iter().map(start).collect(),
        lineage: lineage(spec).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_resource() {
        let member = |broker, byte| Member {
            broker: BrokerId(broker),
            incarnation: Incarnation([byte; 16]),
        };
        let own = Version { generation: 2, revision: 40, writer: 9 };
        let full = ShardRecord {
            shard: ShardId(7),
            version: own,
            epoch: Epoch(5),
            leader: Some(member(1, 0xab)),
            isr: vec![member(1, 0xab), member(0, 0xcd)],
            replicas: vec![BrokerId(1), BrokerId(2), BrokerId(0)],
            min_in_sync_replicas: 2,
            flush: FlushMode::Async,
            unclean_epoch: Some(Epoch(4)),
            loss: Some(LossRange { from: Position(7), to: Position(9) }),
            starts: vec![Start { broker: BrokerId(1), counter: 7, process: 1 << 52 }],
            lineage: Box::new(Lineage {
                runs: vec![
                    Run { first: Version { generation: 1, revision: 2, writer: 8 }, last: 38 },
                    Run { first: own, last: 40 },
                ],
                left: vec![Left {
                    root: Version { generation: 1, revision: 39, writer: 8 },
                    by: 2,
                }],
            }),
        };
        let vacant = ShardRecord {
            leader: None,
            unclean_epoch: None,
            loss: None,
            starts: Vec::new(),
            ..full.clone()
        };
        for before in [full, vacant] {
            assert_eq!(record(&spec("orders", &before)), Ok(before));
        }
    }
}
