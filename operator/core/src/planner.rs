//! The state of the plan, and what each input changes in it. What to do next is in `decide`,
//! what a finished write means is in `written`.

mod adopt;
mod decide;
mod moves;
mod proof;
mod written;

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::{BrokerId, Epoch, Position, ShardId, ShardRecord, Start, Version, mark};

use crate::action::{Action, Event, Intent, Message};
use crate::broker::{Broker, Loss};
use crate::failover::Failovers;
use crate::input::{Input, IsrRequest, Report};
use crate::inventory;
use crate::policy::{Policy, Time};
use crate::replica::named;
use crate::rules::{Rule, Rules};
use crate::starts;

pub(crate) use moves::Naming;
pub use moves::{Moves, Obstacle};

/// Decides who leads which shard. See the crate's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Planner {
    pub(crate) policy: Policy,
    pub(crate) brokers: BTreeMap<BrokerId, Broker>,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    pub(crate) failovers: Failovers,
    /// When the newest input came.
    pub(crate) now: Time,
    actions: VecDeque<Action>,
    /// The name that its records carry: of this planner alone.
    writer: u64,
    /// All of them, but in tests.
    pub(crate) rules: Rules,
}

/// What is known of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    /// The newest record read from or written to the store.
    pub(crate) record: Option<ShardRecord>,
    /// The leader knows its election and does not lead: it has started anew since.
    leader_restarted: bool,
    /// When a leader was written last.
    pub(crate) elected: Option<Time>,
    /// The write under way.
    write: Option<Write>,
    /// A read was asked for; nothing is decided before it is there.
    reading: bool,
    /// The store is read once the write under way has ended: a broker knows a newer record.
    doubted: bool,
    /// The store went back in time.
    pub(crate) frozen: bool,
    /// The record that the store has, as read or written last: an adoption is written over it.
    stored: Option<ShardRecord>,
    /// The highest revision that this planner has ever given to a record, so that it gives no
    /// name twice.
    named: u64,
    /// When brokers that know an older record were given one of those that compete.
    pub(crate) offered: Option<Time>,
    /// The leader's request, waiting for the write under way. One, for a leader has one pending.
    request: Option<IsrRequest>,
    /// Newcomers were named, and not enough are known to know of it.
    naming: Option<Naming>,
    /// The furthest commit position that anyone told.
    pub(crate) committed_seen: Position,
}

impl Shard {
    /// Whether nothing is under way, and its newest record is known.
    fn is_idle(&self) -> bool {
        self.write.is_none() && !self.reading && !self.frozen
    }

    /// The record when the write under way is done.
    fn next_record(&self) -> Option<&ShardRecord> {
        self.write.as_ref().map(|write| &write.record).or(self.record.as_ref())
    }
}

/// A write under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    expected: Option<Version>,
    record: ShardRecord,
    intent: Intent,
    /// The request that it grants.
    request: Option<IsrRequest>,
}

impl Planner {
    /// A planner of `policy` that starts from the records in the store. Of the brokers nothing
    /// is known at first: their silence counts from `now`, or from when another broker had the last
    /// answer of them. `writer` names the records that it writes: drawn for this planner alone, not
    /// 0, below [`Version::WRITERS`].
    #[must_use]
    pub fn new(policy: Policy, records: Vec<ShardRecord>, now: Time, writer: u64) -> Self {
        let brokers = (0..policy.brokers).map(|id| (BrokerId(id), Broker::new(now)));
        let shards = (0..policy.shards).map(|id| (ShardId(id), Shard::default()));
        let mut planner = Self {
            brokers: brokers.collect(),
            shards: shards.collect(),
            policy,
            failovers: Failovers::default(),
            now,
            actions: VecDeque::new(),
            writer,
            rules: Rules::default(),
        };
        for record in records {
            let shard = planner.shards.entry(record.shard).or_default();
            shard.naming = Naming::of_other(&record, &planner.policy);
            shard.stored = Some(record.clone());
            shard.record = Some(record);
        }
        planner
    }

    /// Takes what happened and decides what follows from it.
    pub fn handle(&mut self, input: Input, now: Time) {
        self.now = self.now.max(now);
        match input {
            Input::Connected { start, renewed } => self.handle_connected(start, renewed, now),
            Input::Unanswered { broker, for_ms } => {
                let since = Time(now.0.saturating_sub(for_ms));
                self.with_broker(broker, |broker| broker.witness(since, now));
            }
            Input::Heard { broker } => self.with_broker(broker, |broker| broker.hear(now)),
            Input::Broken { broker } => self.with_broker(broker, Broker::disconnect),
            Input::Refused { broker } => {
                self.bury(broker, Loss::Refused);
            }
            Input::Gone { broker } => {
                // What its connection still says comes from nobody.
                if self.bury(broker, Loss::Gone) {
                    self.act(Action::Redial { broker });
                }
            }
            Input::Reports { broker, reports, complete } => {
                self.handle_reports(broker, reports, complete, now)
            }
            Input::IsrRequest(request) => self.handle_isr_request(request),
            Input::Resign { broker, shard, epoch, reason } => {
                self.handle_resign(broker, shard, epoch, reason)
            }
            Input::Written { shard, outcome } => self.handle_written(shard, outcome, now),
            Input::Read { shard, record } => self.handle_read(shard, record, now),
            Input::PrepareStop { broker } => {
                self.with_broker(broker, |broker| broker.stopping = true);
            }
            Input::Tick => {}
        }
        self.bury_silent(now);
        self.renew_proven(now);
        self.decide(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How many shards `broker` leads by their records.
    #[must_use]
    pub fn leads(&self, broker: BrokerId) -> usize {
        let records = self.shards.values().filter_map(|s| s.record.as_ref());
        records.filter(|record| record.leader.is_some_and(|leader| leader.broker == broker)).count()
    }

    /// Whether `broker` may be stopped without a gap: it leads nothing that another could lead,
    /// those who took over serve, unless they are gone too, and it is in sync only where it can't
    /// be spared.
    #[must_use]
    pub fn is_vacated(&self, broker: BrokerId) -> bool {
        self.shards.iter().all(|(id, shard)| {
            let awaited = self.failovers.is_moved_from(*id, broker) && self.leader_may_serve(shard);
            let record = shard.record.as_ref();
            let settled = shard.write.is_none() && !awaited;
            settled && record.is_none_or(|record| !self.could_leave(record, broker))
        })
    }

    fn leader_may_serve(&self, shard: &Shard) -> bool {
        let leader = shard.record.as_ref().and_then(|record| record.leader);
        let broker = leader.and_then(|leader| self.brokers.get(&leader.broker));
        broker.is_some_and(|broker| broker.dead_since().is_none())
    }

    /// The records as far as they are known.
    pub fn records(&self) -> impl Iterator<Item = &ShardRecord> {
        self.shards.values().filter_map(|s| s.record.as_ref())
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn tell(&mut self, event: Event) {
        self.act(Action::Tell(event));
    }

    fn with_broker(&mut self, broker: BrokerId, change: impl FnOnce(&mut Broker)) {
        if let Some(broker) = self.brokers.get_mut(&broker) {
            change(broker);
        }
    }

    fn handle_connected(&mut self, start: Start, renewed: bool, now: Time) {
        let newest = starts::newest(self, start.broker);
        let undone = newest.filter(|newest| newest.is_undone_by(&start) && !renewed);
        let undone = undone.filter(|_| self.rules.keep(Rule::NewestVolume));
        let Some(known) = self.brokers.get_mut(&start.broker) else {
            return;
        };
        known.suspected = undone.map(|newest| (start, newest));
        if known.suspected.is_none() {
            self.welcome(start, renewed, now);
        }
    }

    /// Takes what `start` has to tell from now on, and gives it the records.
    fn welcome(&mut self, start: Start, renewed: bool, now: Time) {
        let broker = start.broker;
        self.with_broker(broker, |known| known.connect(start, renewed, now));
        let records = self.records().cloned().collect();
        self.act(Action::Send { broker, message: Message::Records(records) });
    }

    /// Whether nothing that `id` reports is to be taken: its volume was put back to an older state,
    /// as it seems, and by what it reports it does not know better than what that is judged by.
    fn refuses_reports(
        &mut self,
        id: BrokerId,
        reports: &[Report],
        complete: bool,
        now: Time,
    ) -> bool {
        let known = self.brokers.get_mut(&id);
        let Some((start, newest)) = known.and_then(|known| known.suspected.take_if(|_| complete))
        else {
            return false;
        };
        let catalog = reports.iter().find(|report| report.shard == ShardId::CATALOG);
        let record = self.shards.get(&ShardId::CATALOG).and_then(|shard| shard.record.as_ref());
        let is_ahead = catalog.is_some_and(|report| inventory::is_ahead(report, record));
        let seen = self.brokers.get(&id).and_then(|known| known.start);
        if is_ahead && seen.is_none_or(|seen| !seen.is_undone_by(&start)) {
            // It is the store that went back, and remembers what has been forgotten since.
            self.welcome(start, false, now);
            return false;
        }
        mark!(VolumeRolledBack);
        let (counted, seen) = (start.counter, newest.counter);
        let why = format!("it counts start {counted}, and start {seen} was seen before");
        self.renew_volume(id, seen, why);
        true
    }

    fn handle_reports(&mut self, id: BrokerId, reports: Vec<Report>, complete: bool, now: Time) {
        if self.refuses_reports(id, &reports, complete, now) {
            return;
        }
        let known: Vec<ShardId> = reports.iter().map(|report| report.shard).collect();
        let Some(broker) = self.brokers.get_mut(&id) else {
            return;
        };
        let ours = |report: &Report| self.shards.contains_key(&report.shard);
        let reports = reports.into_iter().filter(ours).collect();
        if broker.report(reports, complete, now) {
            self.tell(Event::BrokerBack { broker: id });
        }
        for shard in known {
            self.review(id, shard, now);
            self.weigh(id, shard, complete);
        }
    }

    /// Takes nothing more from a broker before it has given its replicas other incarnations.
    fn renew_volume(&mut self, broker: BrokerId, counter: u64, why: String) {
        self.bury(broker, Loss::RolledBack);
        self.act(Action::Send { broker, message: Message::RenewVolume { counter } });
        self.tell(Event::VolumeRolledBack { broker, why });
    }

    /// What the newest report of `broker` on `shard` changes.
    fn review(&mut self, id: BrokerId, shard_id: ShardId, now: Time) {
        let (Some(broker), Some(shard)) = (self.brokers.get(&id), self.shards.get_mut(&shard_id))
        else {
            return;
        };
        let Some(report) = broker.reports.get(&shard_id) else {
            return;
        };
        shard.committed_seen = shard.committed_seen.max(report.committed);
        if self.rules.keep(Rule::Inventory) && inventory::is_ahead(report, shard.record.as_ref()) {
            self.doubt(shard_id);
            return;
        }
        let Some((epoch, leader)) = shard.record.as_ref().map(|r| (r.epoch, r.leader)) else {
            return;
        };
        if leader.is_none_or(|l| l.broker != id || l.incarnation != report.incarnation) {
            return;
        }
        shard.leader_restarted = report.shows_restart_in(epoch);
        let serves = report.leading && report.leads_epoch == epoch;
        // While another is elected, the one before says that it serves still.
        let is_last = shard.next_record().is_none_or(|next| next.epoch == epoch);
        if serves
            && is_last
            && let Some(done) = self.failovers.serving(shard_id, id, now)
        {
            self.tell(Event::FailoverCompleted(done));
        }
    }

    /// Reads the store before anything more is decided about `shard`. A write under way ends
    /// first: with two calls at a time, the end of one would be taken for that of another.
    fn doubt(&mut self, id: ShardId) {
        let Some(shard) = self.shards.get_mut(&id).filter(|s| !s.reading && !s.frozen) else {
            return;
        };
        shard.doubted = shard.write.is_some();
        if !shard.doubted {
            shard.reading = true;
            self.act(Action::Read { shard: id });
        }
    }

    fn handle_isr_request(&mut self, request: IsrRequest) {
        let Some(shard) = self.shards.get_mut(&request.shard) else {
            return;
        };
        if let Some(older) = shard.request.replace(request) {
            self.answer(&older, false);
        }
    }

    fn handle_resign(&mut self, id: BrokerId, shard: ShardId, epoch: Epoch, reason: String) {
        let leads = self.shards.get(&shard).and_then(|s| s.record.as_ref());
        let leads = leads.is_some_and(|record| {
            record.epoch == epoch && record.leader.is_some_and(|leader| leader.broker == id)
        });
        if let Some(broker) = self.brokers.get_mut(&id).filter(|_| leads) {
            broker.resigned.insert(shard, (epoch, self.now));
            self.tell(Event::Resigned { shard, broker: id, reason });
        }
    }

    /// Takes a broker for dead; returns whether that is news.
    fn bury(&mut self, id: BrokerId, loss: Loss) -> bool {
        let news = self.brokers.get_mut(&id).is_some_and(|b| b.bury(loss, self.now));
        let ended = matches!(loss, Loss::Refused | Loss::Gone);
        let stopped = ended && self.brokers.get(&id).is_some_and(|broker| broker.stopping);
        // One that holds nothing was perhaps never there: it is new, or about to go.
        let missed = self
            .shards
            .values()
            .any(|shard| shard.record.as_ref().is_none_or(|record| named(record).contains(&id)));
        if news && stopped {
            self.tell(Event::BrokerStopped { broker: id });
        } else if news && missed {
            self.tell(Event::BrokerLost { broker: id, loss });
        }
        news
    }

    fn bury_silent(&mut self, now: Time) {
        let timeout_ms = self.policy.detection_timeout_ms;
        let silent: Vec<BrokerId> = self
            .brokers
            .iter()
            .filter(|(_, broker)| broker.is_silent(now, timeout_ms))
            .map(|(id, _)| *id)
            .collect();
        for broker in silent {
            self.bury(broker, Loss::Silent);
            self.act(Action::Redial { broker });
        }
    }
}
