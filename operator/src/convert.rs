//! What brokers say, as the core takes it.

use holdfast_operator_core::{Input, IsrRequest, Message, Report};
use holdfast_protocol::control::{self, from_broker, to_broker};
use holdfast_protocol::wire::{self, Error};
use holdfast_protocol::{BrokerId, Epoch, ShardId, ShardRecord, Start};
use holdfast_transport::{AUTHORITIES_MAX, Fingerprint, InUse};

/// The longest reason or failure that is taken from a broker, characters.
const TEXT_MAX: usize = 500;

/// The most brokers of which one may tell whether they answer.
const UNANSWERED_MAX: usize = 64;

fn text(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

fn report(wire: control::ReplicaReport) -> Result<Report, Error> {
    let shard = ShardId(wire.shard);
    let record: Option<ShardRecord> = wire.record.map(TryInto::try_into).transpose()?;
    // The planner may adopt it as the newest record of the shard.
    if let Some(found) = record.as_ref().map(|record| record.shard).filter(|of| *of != shard) {
        return Err(Error::Shard { shard, found });
    }
    Ok(Report {
        shard,
        incarnation: wire::incarnation(&wire.incarnation)?,
        version: wire::version(wire.version.unwrap_or_default())?,
        epoch: wire::epoch(wire.epoch, "epoch")?,
        leading: wire.leading,
        leads_epoch: wire::epoch(wire.leads_epoch, "leads_epoch")?,
        end: wire::position(wire.end, "end")?,
        last_epoch: wire::epoch(wire.last_epoch, "last_epoch")?,
        committed: wire::position(wire.committed, "committed")?,
        held: wire::position(wire.held, "held")?,
        failure: wire.failed.then(|| text(&wire.failure)),
        record,
    })
}

/// What `message` of `broker` is to the planner.
///
/// # Errors
/// Where the message lacks something, or comes out of turn.
pub fn input(broker: BrokerId, message: control::FromBroker) -> Result<Input, Error> {
    use from_broker::Message as From;
    Ok(match message.message.ok_or(Error::Missing("message"))? {
        From::Hello(hello) => connected(broker, &hello),
        From::Reports(reports) => Input::Reports {
            broker,
            complete: reports.complete,
            reports: reports.replicas.into_iter().map(report).collect::<Result<_, _>>()?,
        },
        From::IsrRequest(request) => Input::IsrRequest(IsrRequest {
            broker,
            shard: ShardId(request.shard),
            epoch: Epoch(request.epoch),
            expected: request.expected.ok_or(Error::Missing("expected"))?.into(),
            isr: request.isr.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        }),
        From::Resign(resign) => Input::Resign {
            broker,
            shard: ShardId(resign.shard),
            epoch: Epoch(resign.epoch),
            reason: text(&resign.reason),
        },
        From::Heartbeat(_) => Input::Heard { broker },
        From::Stopping(_) => Input::PrepareStop { broker },
    })
}

/// Which certificates a broker says that it uses, where `message` says so.
#[must_use]
pub fn certificates(message: &control::FromBroker) -> Option<InUse> {
    use from_broker::Message as From;
    let told = match message.message.as_ref()? {
        From::Hello(hello) => hello.certificates.as_ref(),
        From::Heartbeat(beat) => beat.certificates.as_ref(),
        From::Reports(_) | From::IsrRequest(_) | From::Resign(_) | From::Stopping(_) => None,
    };
    told.map(in_use)
}

/// What is no fingerprint is left out: then it is none of those that are waited for.
pub(crate) fn in_use(wire: &control::CertificatesInUse) -> InUse {
    let authorities = wire.authorities.iter().take(AUTHORITIES_MAX);
    InUse {
        authorities: authorities.filter_map(|told| Fingerprint::from_slice(told)).collect(),
        leaf: Fingerprint::from_slice(&wire.leaf),
    }
}

/// A session of `broker` has begun with this hello.
fn connected(broker: BrokerId, hello: &control::BrokerHello) -> Input {
    let start = Start { broker, counter: hello.boot_counter, process: hello.process };
    Input::Connected { start, renewed: hello.renewed }
}

/// What a hello of `broker` says: that its session has begun, and what it has seen of others.
pub(crate) fn began(broker: BrokerId, hello: &control::BrokerHello) -> Vec<Input> {
    let seen = hello
        .unanswered
        .iter()
        .take(UNANSWERED_MAX)
        .map(|seen| Input::Unanswered { broker: BrokerId(seen.broker), for_ms: seen.for_ms });
    std::iter::once(connected(broker, hello)).chain(seen).collect()
}

/// `message` as it is sent.
pub(crate) fn message(message: &Message) -> control::ToBroker {
    let message = match message {
        Message::Records(records) => to_broker::Message::Records(control::Records {
            records: records.iter().map(Into::into).collect(),
        }),
        Message::IsrAnswer { shard, expected, accepted, record } => {
            to_broker::Message::IsrAnswer(control::IsrAnswer {
                shard: shard.0,
                expected: Some((*expected).into()),
                accepted: *accepted,
                record: record.as_ref().map(Into::into),
            })
        }
        Message::RenewVolume { counter } => {
            to_broker::Message::RenewVolume(control::RenewVolume { boot_counter: *counter })
        }
    };
    to(message)
}

/// Wraps a message.
pub(crate) fn to(message: to_broker::Message) -> control::ToBroker {
    control::ToBroker { message: Some(message) }
}
