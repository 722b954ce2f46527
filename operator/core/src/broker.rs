//! What is known of one broker: its session, and what it reported in it.

use std::collections::BTreeMap;
use std::fmt;

use holdfast_protocol::{Epoch, Position, ShardId, Start};

use crate::input::Report;
use crate::policy::Time;

/// For how long a leader that resigned is not elected again, where another can lead, ms.
const RESIGNED_MS: u64 = 30_000;
/// And where nobody else can: what it resigned for may be past, ms.
const RESTED_MS: u64 = 5_000;

/// What other brokers have seen of one counts so long after they told it, ms: meanwhile it may answer
/// the operator.
const WITNESS_MS: u64 = 500;

/// How it was noticed that a broker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// A second dial confirmed that nobody listens.
    Refused,
    /// Whoever runs its process knows that it has ended.
    Gone,
    /// Nothing was heard for the detection timeout.
    Silent,
    /// It is there, but as another process than the one that was elected.
    Restarted,
    /// It is there, but its volume was put back to an older state.
    RolledBack,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Gone => "process gone",
            Self::Silent => "silent",
            Self::Restarted => "restarted",
            Self::RolledBack => "its volume was put back to an older state",
        })
    }
}

/// Whether a broker may be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Connected, and it has said what it holds.
    Live,
    /// Neither known to live nor known to be dead: decisions wait for the one or the other.
    Unsure,
    /// Gone.
    Dead(Loss),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Session {
    None,
    Connected,
    Dead(Loss),
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broker {
    session: Session,
    complete: bool,
    heard: Time,
    /// When other brokers told first since when it has not answered them; as long as it has not
    /// answered this operator.
    witnessed: Option<Time>,
    live_since: Time,
    died: Time,
    pub(crate) start: Option<Start>,
    /// Its volume was named anew in that start.
    pub(crate) renewed: bool,
    /// It began this start after one that can't have been before it: nothing is taken from it until
    /// it has told what it knows.
    pub(crate) suspected: Option<(Start, Start)>,
    pub(crate) reports: BTreeMap<ShardId, Report>,
    pub(crate) stopping: bool,
    /// The epoch of each shard that it gave up, and when.
    pub(crate) resigned: BTreeMap<ShardId, (Epoch, Time)>,
    /// Shards of which it seems to lack what was committed in sync with it.
    pub(crate) doubts: BTreeMap<ShardId, Doubt>,
}

/// A log that should be longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Doubt {
    /// What it should at least hold.
    pub(crate) floor: Position,
    /// Since when.
    pub(crate) since: Time,
}

impl Broker {
    /// A broker of which nothing is known; silence counts from `now`.
    pub(crate) fn new(now: Time) -> Self {
        Self {
            session: Session::None,
            complete: false,
            heard: now,
            witnessed: None,
            live_since: now,
            died: now,
            start: None,
            renewed: false,
            suspected: None,
            reports: BTreeMap::new(),
            stopping: false,
            resigned: BTreeMap::new(),
            doubts: BTreeMap::new(),
        }
    }

    pub(crate) fn liveness(&self) -> Liveness {
        match self.session {
            Session::Connected if self.complete => Liveness::Live,
            Session::Connected | Session::None => Liveness::Unsure,
            Session::Dead(loss) => Liveness::Dead(loss),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.liveness() == Liveness::Live
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session == Session::Connected
    }

    /// Since when it is dead, if it is.
    pub(crate) fn dead_since(&self) -> Option<Time> {
        matches!(self.session, Session::Dead(_)).then_some(self.died)
    }

    /// For how long it has been live, ms.
    pub(crate) fn live_for_ms(&self, now: Time) -> u64 {
        if self.is_live() { now.since(self.live_since) } else { 0 }
    }

    /// Whether it said lately that it can't lead `shard`.
    pub(crate) fn has_resigned(&self, shard: ShardId, now: Time) -> bool {
        let resigned = self.resigned.get(&shard);
        resigned.is_some_and(|(_, at)| now.since(*at) < RESIGNED_MS)
    }

    /// Whether it has given up this epoch of `shard`, which it leads by the record.
    pub(crate) fn gave_up(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.resigned.get(&shard).is_some_and(|(of, _)| *of >= epoch)
    }

    /// Whether it was some time ago that it resigned.
    pub(crate) fn has_rested(&self, shard: ShardId, now: Time) -> bool {
        self.resigned.get(&shard).is_none_or(|(_, at)| now.since(*at) >= RESTED_MS)
    }

    /// A session begins. What was reported before is old; another process forgets that it was
    /// to be stopped, or that it resigned.
    pub(crate) fn connect(&mut self, start: Start, renewed: bool, now: Time) {
        if self.start != Some(start) {
            self.stopping = false;
            self.resigned.clear();
        }
        self.start = Some(start);
        self.witnessed = None;
        self.renewed = renewed;
        self.doubts.clear();
        self.session = Session::Connected;
        self.complete = false;
        self.heard = now;
    }

    /// When something was heard of it last.
    pub(crate) fn heard(&self) -> Time {
        self.heard
    }

    pub(crate) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    /// Another broker has had its last answer at `since`. Of one that was never heard by this
    /// operator, that is the best that is known.
    pub(crate) fn witness(&mut self, since: Time, now: Time) {
        if self.start.is_some() {
            return;
        }
        self.heard = if self.witnessed.is_some() { self.heard.max(since) } else { since };
        self.witnessed.get_or_insert(now);
    }

    /// Takes reports; returns whether the broker is live by them and was not before.
    pub(crate) fn report(&mut self, reports: Vec<Report>, complete: bool, now: Time) -> bool {
        if !self.is_connected() {
            return false;
        }
        self.heard = now;
        if complete {
            self.reports.clear();
        }
        for report in reports {
            self.reports.insert(report.shard, report);
        }
        let back = complete && !self.complete;
        if back {
            self.complete = true;
            self.live_since = now;
        }
        back
    }

    /// The session ended. Silence goes on counting from what was last heard.
    pub(crate) fn disconnect(&mut self) {
        if self.is_connected() {
            self.session = Session::None;
            self.complete = false;
        }
    }

    /// It is dead; returns whether that is news.
    pub(crate) fn bury(&mut self, loss: Loss, now: Time) -> bool {
        let news = !matches!(self.session, Session::Dead(_));
        if news {
            self.session = Session::Dead(loss);
            self.died = now;
            self.complete = false;
        }
        news
    }

    /// Moves every moment.
    #[cfg(feature = "ablation")]
    pub(crate) fn shift_time(&mut self, shift: crate::model::Shift) {
        let moments = [&mut self.heard, &mut self.live_since, &mut self.died];
        let doubts = self.doubts.values_mut().map(|doubt| &mut doubt.since);
        let resigned = self.resigned.values_mut().map(|(_, at)| at);
        let moments = moments.into_iter().chain(&mut self.witnessed);
        moments.chain(resigned).chain(doubts).for_each(|time| shift.apply(time));
    }

    pub(crate) fn is_silent(&self, now: Time, timeout_ms: u64) -> bool {
        let may_answer = self.witnessed.is_some_and(|told| now.since(told) < WITNESS_MS);
        let is_dead = matches!(self.session, Session::Dead(_));
        !is_dead && !may_answer && now.since(self.heard) >= timeout_ms
    }
}
