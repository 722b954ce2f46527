//! Scripts: one replica, what it is told line by line, and what it says to that.
//!
//! ```text
//! record v1 e1 leader 0/1 isr 0/1 1/1 min 2   (async, unclean 3)
//! append 5          it leads, and appends up to position 5
//! durable 5
//! fetch 1/1 e1 at 5 after e1 held 5           (committed 4, gaps 9)
//! data 1 e1 at 5 after e1: 5:1 6:1 up to 7 committed 6
//! diverged 1 e2 at 5 after e1: e1 ends 4
//! refused 1 e2 at 5 after e1
//! need 1 e2 at 5 after e1
//! tick 500          ms since the start
//! wish v1           the wish under version 1 is refused
//! clean 5
//! built 9 from 2 with 1:0 2:4                 a checkpoint of position 9, the log from 2 on
//! ```
//! After `=>` stands what it says, joined by `; `; that it keeps a record is left out. A line
//! `? committed 5 leads 1` asks how it stands.

use std::str::SplitWhitespace;

use bytes::Bytes;
use holdfast_protocol::entry::{Draft, Entries, Kind};
use holdfast_protocol::{
    BrokerId, Epoch, FlushMode, Incarnation, Member, Position, ShardId, ShardRecord, Version,
};

use super::trace;
use crate::replica::{
    Answer, Fetch, FetchKey, History, Outcome, Output, Recovered, Replica, Settings,
};

/// When scripts begin, ms.
const START_MS: u64 = 1_000_000;

/// The words of a line.
struct Words<'a>(SplitWhitespace<'a>);

impl Words<'_> {
    fn word(&mut self) -> &str {
        self.0.next().expect("the line goes on").trim_end_matches(':')
    }

    fn number(&mut self) -> u64 {
        let word = self.word();
        word.trim_start_matches(['e', 'v']).parse().unwrap_or_else(|_| panic!("number: {word}"))
    }

    fn position(&mut self) -> Position {
        Position(self.number())
    }

    fn epoch(&mut self) -> Epoch {
        Epoch(u32::try_from(self.number()).unwrap())
    }

    fn broker(&mut self) -> BrokerId {
        BrokerId(u32::try_from(self.number()).unwrap())
    }

    /// `e1 at 5 after e1`
    fn key(&mut self) -> FetchKey {
        let epoch = self.epoch();
        self.expect("at");
        let position = self.position();
        self.expect("after");
        FetchKey { epoch, position, last_epoch: self.epoch() }
    }

    fn expect(&mut self, expected: &str) {
        assert_eq!(self.word(), expected);
    }
}

fn member(word: &str) -> Member {
    let (broker, log) = word.split_once('/').unwrap();
    let mut bytes = [0; 16];
    bytes[15] = log.parse().unwrap();
    Member { broker: BrokerId(broker.parse().unwrap()), incarnation: Incarnation(bytes) }
}

/// Pairs as `1:0 2:4`, until another word comes.
fn pairs(words: &mut Words<'_>) -> (Vec<(u64, u64)>, Option<String>) {
    let mut pairs = Vec::new();
    for word in words.0.by_ref() {
        match word.split_once(':') {
            Some((a, b)) if !b.is_empty() => pairs.push((a.parse().unwrap(), b.parse().unwrap())),
            Some(_) | None => return (pairs, Some(word.to_owned())),
        }
    }
    (pairs, None)
}

fn history(pairs: &[(u64, u64)]) -> History {
    let epochs = pairs.iter().map(|(e, p)| (Epoch(u32::try_from(*e).unwrap()), Position(*p)));
    History::new(epochs.collect())
}

pub(super) fn record(text: &str) -> ShardRecord {
    let mut record = ShardRecord {
        shard: ShardId(1),
        version: Version::default(),
        epoch: Epoch(0),
        leader: None,
        isr: Vec::new(),
        replicas: (0..4).map(BrokerId).collect(),
        min_in_sync_replicas: 1,
        flush: FlushMode::Sync,
        unclean_epoch: None,
        loss: None,
        starts: Vec::new(),
        lineage: Default::default(),
    };
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "leader" => record.leader = words.next().filter(|w| *w != "none").map(member),
            "isr" => {
                while let Some(word) = words.next_if(|word| word.contains('/')) {
                    record.isr.push(member(word));
                }
            }
            "min" => record.min_in_sync_replicas = words.next().unwrap().parse().unwrap(),
            "async" => record.flush = FlushMode::Async,
            "unclean" => {
                record.unclean_epoch = Some(Epoch(words.next().unwrap().parse().unwrap()));
            }
            _ => match word.split_at(1) {
                ("v", number) => record.version.revision = number.parse().unwrap(),
                ("g", number) => record.version.generation = number.parse().unwrap(),
                ("e", number) => record.epoch = Epoch(number.parse().unwrap()),
                other => panic!("a record has no {other:?}"),
            },
        }
    }
    record
}

/// Entries `position:epoch` without a body.
fn entries(pairs: &[(u64, u64)]) -> Bytes {
    let mut bytes = Vec::new();
    for (at, epoch) in pairs {
        let epoch = Epoch(u32::try_from(*epoch).unwrap());
        Draft::command(Kind::EpochStart, b"").encode(epoch, Position(*at), &mut bytes);
    }
    bytes.into()
}

/// A replica from `0/1 epochs 1:0 2:4 end 9 committed 3 gaps 0 knows RECORD`; only the first
/// word is needed. With `tells` it tells of commits at once.
pub(super) fn replica(text: &str) -> Replica {
    let (log, known) = match text.split_once("knows") {
        Some((log, known)) => (log, Some(record(known))),
        None => (text, None),
    };
    let mut words = Words(log.split_whitespace());
    let me = member(words.word());
    let mut recovered = Recovered {
        incarnation: me.incarnation,
        end: Position(0),
        epochs: History::default(),
        committed: Position(0),
        record: known,
        gaps_until: Position(0),
    };
    let mut settings = Settings::default();
    let mut next = words.0.next().map(ToOwned::to_owned);
    while let Some(word) = next.take() {
        match word.as_str() {
            "epochs" => {
                let (epochs, after) = pairs(&mut words);
                recovered.epochs = history(&epochs);
                next = after;
                continue;
            }
            "end" => recovered.end = words.position(),
            "committed" => recovered.committed = words.position(),
            "gaps" => recovered.gaps_until = words.position(),
            "tells" => settings.tells_commits = true,
            other => panic!("a log has no {other}"),
        }
        next = words.0.next().map(ToOwned::to_owned);
    }
    Replica::new(me.broker, ShardId(1), settings, recovered)
}

fn answer(replica: &mut Replica, words: &mut Words<'_>, outcome: &str, now_ms: u64) {
    let from = words.broker();
    let key = words.key();
    let outcome = match outcome {
        "data" => {
            let (pairs, _up) = pairs(words);
            words.expect("to");
            let next = words.position();
            words.expect("committed");
            Outcome::Data { entries: entries(&pairs), next, committed: words.position() }
        }
        "diverged" => {
            let epoch = words.epoch();
            words.expect("ends");
            Outcome::Diverged { epoch, end: words.position() }
        }
        "refused" => Outcome::Refused { epoch: Epoch(9) },
        _ => Outcome::NeedCheckpoint,
    };
    replica.handle_answer(from, Answer { key, outcome }, now_ms);
}

fn fetch(words: &mut Words<'_>) -> (BrokerId, Fetch) {
    let from = member(words.word());
    let key = words.key();
    let mut fetch = Fetch {
        key,
        incarnation: from.incarnation,
        held: key.position,
        committed: Position(0),
        gaps_until: Position(0),
        record: None,
    };
    while let Some(word) = words.0.next() {
        match word {
            "held" => fetch.held = words.position(),
            "committed" => fetch.committed = words.position(),
            "gaps" => fetch.gaps_until = words.position(),
            other => panic!("a fetch has no {other}"),
        }
    }
    (from.broker, fetch)
}

fn tell(replica: &mut Replica, line: &str, now_ms: &mut u64) {
    let mut words = Words(line.split_whitespace());
    let words = &mut words;
    let now = *now_ms;
    match words.word().to_owned().as_str() {
        "record" => {
            let text = line.trim_start().trim_start_matches("record");
            replica.handle_record(record(text), now);
            if replica.wants_epoch_start().is_some() {
                replica.handle_appended(Entries::default(), replica.end().next(), now);
            }
        }
        "append" => replica.handle_appended(Entries::default(), words.position(), now),
        "durable" => replica.handle_durable(words.position(), now),
        "fetch" => {
            let (from, fetch) = fetch(words);
            replica.handle_fetch(from, fetch, now);
        }
        "tick" => {
            *now_ms = START_MS + words.number();
            replica.handle_tick(*now_ms);
        }
        "wish" => {
            let version = Version { generation: 0, revision: words.number(), writer: 0 };
            replica.handle_isr_refused(version, now);
        }
        "clean" => replica.handle_cleaned(words.position()),
        "built" => {
            let position = words.position();
            words.expect("from");
            let start = words.position();
            words.expect("with");
            let (epochs, _) = pairs(words);
            let name = member("0/99").incarnation;
            replica.handle_bootstrap(name, start, position, history(&epochs));
        }
        outcome => answer(replica, words, outcome, now),
    }
}

fn said(replica: &mut Replica) -> String {
    let mut said = Vec::new();
    while let Some(output) = replica.poll_output() {
        if !matches!(output, Output::Persist(_)) {
            said.push(trace::output(&output).trim_end().to_owned());
        }
    }
    said.join("; ")
}

/// How it stands, in the words that are asked for.
fn standing(replica: &Replica, asked: &str) -> String {
    let number = |epoch: Option<Epoch>| epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
    let names = asked.split_whitespace().step_by(2);
    let said = names.map(|name| {
        let value = match name {
            "committed" => replica.committed().to_string(),
            "end" => replica.end().to_string(),
            "held" => replica.held().to_string(),
            "epoch" => replica.epoch().to_string(),
            "leads" => number(replica.leads()),
            "confirmed" => number(replica.confirmed()),
            "follows" => replica.follows().map_or("-".to_owned(), |leader| leader.to_string()),
            "halted" => replica.is_halted().to_string(),
            "building" => replica.is_bootstrapping().to_string(),
            "builds" => replica.wants_bootstrap().to_string(),
            "followers" => replica.followers().count().to_string(),
            other => panic!("a replica has no {other}"),
        };
        format!("{name} {value}")
    });
    said.collect::<Vec<_>>().join(" ")
}

/// Plays a script to a replica, and compares what it says.
pub(super) fn play(log: &str, script: &str) {
    let mut replica = replica(log);
    let mut now_ms = START_MS;
    said(&mut replica);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(asked) = line.strip_prefix('?') {
            assert_eq!(standing(&replica, asked), asked.trim(), "in {log}:{script}");
            continue;
        }
        let (told, expected) = line.split_once("=>").unwrap_or((line, "*"));
        tell(&mut replica, told, &mut now_ms);
        let said = said(&mut replica);
        if expected != "*" {
            assert_eq!(said, expected.trim(), "after `{told}` in {log}:{script}");
        }
    }
}
