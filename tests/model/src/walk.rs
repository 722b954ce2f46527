//! Walks at random through the model: one seed, the same walk every time.

use stateright::Model;

use crate::action::{Action, Fate};
use crate::invariants::Invariant;
use crate::quiet::{self, Unrest};
use crate::setup::BROKERS;
use crate::{Cluster, State};
use holdfast_protocol::Member;

/// A small generator (SplitMix64): the same seed gives the same numbers for ever.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn any(&mut self, choices: &[u64]) -> u64 {
        let at = self.next() % choices.len() as u64;
        choices[usize::try_from(at).expect("a remainder of a length is an index")]
    }
}

/// How likely each kind of action is in a walk: other seeds, other weather.
#[derive(Clone, Copy, Debug)]
struct Weather {
    elect: u64,
    fence: u64,
    stop: u64,
    power: u64,
    volume: u64,
    lose: u64,
    repeat: u64,
    old: u64,
    flush: u64,
    tick: u64,
    doubt: u64,
    refuse: u64,
}

impl Weather {
    fn draw(random: &mut Random) -> Self {
        Self {
            elect: random.any(&[1, 4, 16]),
            fence: random.any(&[0, 2, 10]),
            stop: random.any(&[0, 2, 8]),
            power: random.any(&[0, 2, 8]),
            volume: random.any(&[0, 0, 2]),
            lose: random.any(&[0, 4, 16]),
            repeat: random.any(&[0, 8, 30]),
            old: random.any(&[0, 2, 10]),
            flush: random.any(&[10, 60, 100]),
            tick: random.any(&[5, 20, 40]),
            doubt: random.any(&[0, 4, 20]),
            refuse: random.any(&[0, 10, 40]),
        }
    }

    fn weight(&self, state: &State, action: Action) -> u64 {
        match action {
            Action::Deliver(..) => 100,
            Action::Append(_) => 50,
            Action::Flush(_) => self.flush,
            Action::Tick(_) => self.tick,
            Action::Observe(_, at) if usize::from(at) == state.store.at => 60,
            Action::Observe(..) => self.old,
            Action::Start(_) | Action::Report(..) | Action::FindDead(..) => 30,
            Action::Kill(_) | Action::FlushFails(_) => self.stop,
            Action::PowerCut(..) => self.power,
            Action::LoseVolume(_) | Action::Rot(_) => self.volume,
            Action::Repeat(..) => self.repeat,
            Action::Lose(_) => self.lose,
            Action::Elect(..) => self.elect,
            Action::Fence(..) => self.fence,
            Action::Vacate | Action::RollBack(_) | Action::PrepareStop(..) => 1,
            Action::Refuse(_) => self.refuse,
            Action::Store(_, Fate::Done) => 60,
            Action::Store(..) | Action::Late(_) => self.doubt,
            Action::Break(..) | Action::OperatorTick(_) => self.elect,
            Action::OperatorWait(_) => 10,
            Action::Replace(..) => self.fence,
        }
    }
}

/// How a walk ended.
#[derive(Clone, Debug)]
pub struct Walk {
    /// What happened, step by step.
    pub trace: Vec<Action>,
    /// Where it ended.
    pub state: State,
}

impl Walk {
    /// The invariant that it broke, if one.
    #[must_use]
    pub fn broken(&self) -> Option<Invariant> {
        self.state.broken
    }
}

/// Walks `steps` steps, or until an invariant is broken.
#[must_use]
pub fn walk(cluster: &Cluster, start: &State, seed: u64, steps: usize) -> Walk {
    let mut random = Random(seed);
    let weather = Weather::draw(&mut random);
    let mut walk = Walk { trace: Vec::with_capacity(steps), state: start.clone() };
    let mut actions = Vec::new();
    while walk.trace.len() < steps && walk.state.broken.is_none() {
        actions.clear();
        cluster.actions(&walk.state, &mut actions);
        let Some(action) = choose(&mut random, weather, &walk.state, &actions) else { break };
        if let Some(next) = cluster.next(&walk.state, action) {
            walk.trace.push(action);
            walk.state = next;
        }
    }
    walk
}

fn choose(
    random: &mut Random,
    weather: Weather,
    state: &State,
    actions: &[Action],
) -> Option<Action> {
    let total: u64 = actions.iter().map(|action| weather.weight(state, *action)).sum();
    let mut at = random.next().checked_rem(total)?;
    actions.iter().copied().find(|action| {
        let weight = weather.weight(state, *action);
        let found = at < weight;
        at = at.saturating_sub(weight);
        found
    })
}

/// Plays a trace; steps that can't happen are left out.
#[must_use]
pub fn replay(cluster: &Cluster, trace: &[Action]) -> Walk {
    let mut walk = Walk { trace: Vec::new(), state: cluster.start() };
    for action in trace {
        if walk.state.broken.is_some() {
            break;
        }
        if let Some(next) = cluster.next(&walk.state, *action) {
            walk.trace.push(*action);
            walk.state = next;
        }
    }
    walk
}

/// A trace in words: what happens at each step, and which records come of it.
#[must_use]
pub fn explain(cluster: &Cluster, trace: &[Action]) -> Vec<String> {
    let mut state = cluster.start();
    let mut lines = vec![show_record(&state)];
    for action in trace {
        let message = match action {
            Action::Deliver(name, _) | Action::Repeat(name, _) | Action::Lose(name) => {
                state.messages.iter().find(|posted| posted.name == *name)
            }
            _ => None,
        };
        lines.push(match message {
            Some(posted) => format!("{action:?} {}", posted.message.brief()),
            None => format!("{action:?}"),
        });
        let records = state.store.history.len();
        if let Some(next) = cluster.next(&state, *action) {
            state = next;
        }
        if state.store.history.len() > records {
            lines.push(show_record(&state));
        }
    }
    lines
}

/// The record that is there now, in few words.
fn show_record(state: &State) -> String {
    let record = state.store.record();
    let member = |member: &Member| {
        let [.., drawn] = member.incarnation.0;
        format!("{}.{drawn}", member.broker)
    };
    let isr: Vec<String> = record.isr.iter().map(member).collect();
    let leader = record.leader.as_ref().map(member);
    format!(
        "  record {}: v{} by {} e{} leader {leader:?} isr {isr:?}",
        state.store.at, record.version, record.version.writer, record.epoch
    )
}

/// The trace without the steps that it does without.
#[must_use]
pub fn minimal(cluster: &Cluster, trace: &[Action], broken: Invariant) -> Vec<Action> {
    let mut trace = trace.to_vec();
    let mut length = trace.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < trace.len() {
            let mut without = trace.clone();
            without.drain(at..(at + length).min(trace.len()));
            let walk = replay(cluster, &without);
            if walk.broken() == Some(broken) {
                trace = walk.trace;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    trace
}

/// Whether a shard serves in the quiet after a walk, first with all brokers and then with each of them
/// down; `false` where whoever could lead was lost.
///
/// # Errors
/// What the quiet did not bring.
pub fn ends_well(cluster: &Cluster, walk: &Walk) -> Result<bool, Unrest> {
    let mut rested = walk.state.clone();
    let leads = quiet::settle(cluster, &mut rested)?;
    if leads {
        for down in 0..BROKERS {
            quiet::goes_on_without(cluster, &mut rested.clone(), down)?;
        }
    }
    Ok(leads)
}
