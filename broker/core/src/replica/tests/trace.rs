//! What happened, in few words: a trace is read by people.

use bytes::Bytes;
use holdfast_protocol::entry::Entries;
use holdfast_protocol::{Member, ShardRecord};

use crate::replica::{Answer, Fetch, FetchKey, Outcome, Output};

pub(super) fn output(output: &Output) -> String {
    match output {
        Output::Persist(new) => format!("keeps {}", record(new)),
        Output::Append(new) => format!("appends {}", entries(new.bytes())),
        Output::Truncate(to) => format!("cuts to {to}"),
        Output::Fetch(to, f) => format!("asks {to}: {}", fetch(f)),
        Output::Serve { to, key: k, end, committed } => {
            format!("serves {to} {} below {end}, committed {committed}", key(k))
        }
        Output::Answer(to, a) => format!("answers {to}: {}", answer(a)),
        Output::Bootstrap(from) => format!("needs a checkpoint of {from}"),
        Output::RequestIsr(request) => {
            format!("wants at {}: isr {}", request.expected, members(&request.isr))
        }
        Output::Halt(fault) => format!("halts: {fault}"),
    }
}

pub(super) fn record(record: &ShardRecord) -> String {
    let leader = record.leader.as_ref().map_or("nobody".to_owned(), member);
    let (version, epoch, isr) = (record.version, record.epoch, members(&record.isr));
    format!("v{version} e{epoch} leader {leader} isr {isr} unclean {:?}", record.unclean_epoch)
}

/// A member as `broker/log`.
pub(super) fn member(member: &Member) -> String {
    format!("{}/{}", member.broker, member.incarnation.0[15])
}

pub(super) fn members(isr: &[Member]) -> String {
    let isr: Vec<String> = isr.iter().map(member).collect();
    isr.join(" ")
}

fn key(key: &FetchKey) -> String {
    format!("e{} at {} after e{}", key.epoch, key.position, key.last_epoch)
}

pub(super) fn fetch(fetch: &Fetch) -> String {
    let Fetch { held, committed, gaps_until, .. } = fetch;
    format!("{} held {held} committed {committed} gaps {gaps_until}", key(&fetch.key))
}

pub(super) fn answer(answer: &Answer) -> String {
    let outcome = match &answer.outcome {
        Outcome::Data { entries: bytes, committed, next } => {
            format!("{}up to {next}, committed {committed}", entries(bytes))
        }
        Outcome::Diverged { epoch, end } => format!("e{epoch} ends at {end}"),
        Outcome::Refused { epoch } => format!("refused in e{epoch}"),
        Outcome::Behind(new) => format!("behind {}", record(new)),
        Outcome::NeedCheckpoint => "needs a checkpoint".to_owned(),
    };
    format!("{}: {outcome}", key(&answer.key))
}

/// Entries as `position:epoch`.
fn entries(bytes: &Bytes) -> String {
    let headers = Entries::verify(bytes.clone()).unwrap_or_default();
    let at = headers.headers().iter().map(|header| format!("{}:{}", header.position, header.epoch));
    at.fold(String::new(), |all, one| all + &one + " ")
}
