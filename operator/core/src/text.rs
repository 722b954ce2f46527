//! Records and brokers as text, so that tables of decisions can be read.
//!
//! A record: `v7 e3 leader 0a isr 0a 1a 2a min 2`; `0a` is broker 0 with incarnation `a`.
//! Brokers: `0 dead a 3/9; 1 live b 3/8 leads 2 stopping`: state, incarnation, epoch of the last
//! entry / end of the log, and marks.

use std::fmt::Write;

use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Position, ShardId, ShardRecord, Version,
};

use crate::broker::{Liveness, Loss};
use crate::input::Report;
use crate::replica::Holder;
use crate::rules::Rules;

pub(crate) fn incarnation(letter: char) -> Incarnation {
    Incarnation([letter as u8; 16])
}

pub(crate) fn member(text: &str) -> Member {
    let (id, letter) = text.split_at(text.len() - 1);
    Member {
        broker: BrokerId(id.parse().unwrap()),
        incarnation: incarnation(letter.chars().next().unwrap()),
    }
}

pub(crate) fn record(text: &str) -> ShardRecord {
    let mut record = ShardRecord {
        shard: ShardId(0),
        version: Version::default(),
        epoch: Epoch(0),
        leader: None,
        isr: Vec::new(),
        replicas: (0..3).map(BrokerId).collect(),
        min_in_sync_replicas: 1,
        flush: FlushMode::Sync,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Default::default(),
    };
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().parse().unwrap();
        match word {
            "leader" => record.leader = words.next().filter(|w| *w != "none").map(member),
            "min" => record.min_in_sync_replicas = number(),
            "unclean" => record.unclean_epoch = Some(Epoch(number())),
            "isr" => {
                while let Some(word) = words.next_if(|w| w.starts_with(|c: char| c.is_numeric())) {
                    record.isr.push(member(word));
                }
            }
            _ if word.starts_with('v') => record.version.revision = word[1..].parse().unwrap(),
            _ => record.epoch = Epoch(word[1..].parse().unwrap()),
        }
    }
    record
}

fn name(member: Member) -> String {
    format!("{}{}", member.broker, member.incarnation.0[0] as char)
}

pub(crate) fn show(record: &ShardRecord) -> String {
    let leader = record.leader.map_or_else(|| "none".to_owned(), name);
    let isr: Vec<String> = record.isr.iter().copied().map(name).collect();
    let mut text = format!(
        "v{} e{} leader {leader} isr {} min {}",
        record.version.revision,
        record.epoch,
        isr.join(" "),
        record.min_in_sync_replicas
    );
    if let Some(epoch) = record.unclean_epoch {
        write!(text, " unclean {epoch}").unwrap();
    }
    text
}

pub(crate) struct Holders(Vec<(Report, Holder<'static>)>);

impl Holders {
    /// Lets `broker` report that it leads `epoch`.
    pub(crate) fn leading(&mut self, broker: BrokerId, epoch: Epoch) {
        for (report, holder) in &mut self.0 {
            if holder.broker == broker {
                report.leading = true;
                report.leads_epoch = epoch;
                report.epoch = epoch;
            }
        }
    }

    pub(crate) fn view(&self) -> Vec<Holder<'_>> {
        self.0.iter().map(|(report, holder)| Holder { report: Some(report), ..*holder }).collect()
    }
}

pub(crate) fn report(incarnation: Incarnation) -> Report {
    Report {
        shard: ShardId(0),
        incarnation,
        version: Version::default(),
        epoch: Epoch(0),
        leading: false,
        leads_epoch: Epoch(0),
        end: Position(0),
        last_epoch: Epoch(0),
        committed: Position(0),
        held: Position(0),
        failure: None,
        record: None,
    }
}

pub(crate) fn holders(text: &str) -> Holders {
    Holders(text.split(';').map(|line| holder(line.trim())).collect())
}

fn holder(line: &str) -> (Report, Holder<'static>) {
    let mut words = line.split_whitespace();
    let mut holder = Holder {
        broker: BrokerId(words.next().unwrap().parse().unwrap()),
        liveness: match words.next().unwrap() {
            "live" => Liveness::Live,
            "dead" => Liveness::Dead(Loss::Refused),
            _ => Liveness::Unsure,
        },
        report: None,
        doubted: false,
        stopping: false,
        resigned: false,
        gave_up: false,
        rested: false,
        leads: 0,
        rules: Rules::default(),
    };
    let mut report = report(incarnation(words.next().unwrap().chars().next().unwrap()));
    while let Some(word) = words.next() {
        match word {
            "failed" => report.failure = Some("disk full".to_owned()),
            "stopping" => holder.stopping = true,
            "resigned" => (holder.resigned, holder.gave_up) = (true, true),
            "rested" => (holder.resigned, holder.rested) = (true, true),
            "leads" => holder.leads = words.next().unwrap().parse().unwrap(),
            "committed" => report.committed = Position(words.next().unwrap().parse().unwrap()),
            _ => {
                let (epoch, end) = word.split_once('/').unwrap();
                report.last_epoch = Epoch(epoch.parse().unwrap());
                report.end = Position(end.parse().unwrap());
            }
        }
    }
    (report, holder)
}
