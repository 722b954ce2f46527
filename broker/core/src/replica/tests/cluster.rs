//! A random cluster over the shipped shard: one seed, one thread, the same run every time.
//!
//! Messages are lost, repeated, reordered and late; brokers see old records, stop and lose what
//! was not flushed, or their whole volume; logs are cleaned, so that who is far behind is built
//! from a checkpoint. An operator elects and fences as it likes. `checker` says what must hold
//! all the while; at the end of each run all is well again, and the cluster must be whole.

mod checker;
mod client;
mod disk;
mod node;
mod operator;
mod quiet;
mod random;
mod steps;
mod tests;

use std::collections::VecDeque;

use holdfast_protocol::{BrokerId, FlushMode, Incarnation, Member, Version};

use super::trace;
use crate::replica::{Answer, Fetch, IsrRequest, Settings};
use crate::replica::{Rule, Rules};
use checker::{Checker, Violation};
use client::Client;
use node::Node;
use operator::Operator;
use random::Random;

/// Steps of a run before the quiet.
const STEPS: usize = 500;
/// Messages on their way; the oldest are lost above it.
const MESSAGES_MAX: usize = 48;
/// Lines of the trace of a failure.
const TRACE_MAX: usize = 120;

/// What kind of cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) replicas: u32,
    pub(super) flush: FlushMode,
    /// Whether the operator elects somebody where no member of the ISR can lead.
    pub(super) unclean: bool,
    /// Whether leaders tell of commits at once.
    pub(super) tells_commits: bool,
    /// A rule that is taken away.
    pub(super) broken: Option<Rule>,
}

/// On its way.
#[derive(Clone, Debug)]
enum Message {
    Fetch { from: BrokerId, to: BrokerId, fetch: Fetch },
    Answer { from: BrokerId, to: BrokerId, answer: Answer },
    Isr { from: BrokerId, request: IsrRequest },
    IsrRefused { to: BrokerId, expected: Version },
}

impl Message {
    /// The broker that it is about to reach, or that it comes from.
    fn touches(&self, broker: BrokerId) -> bool {
        match self {
            Self::Fetch { from, to, .. } | Self::Answer { from, to, .. } => {
                *from == broker || *to == broker
            }
            Self::Isr { from, .. } => *from == broker,
            Self::IsrRefused { to, .. } => *to == broker,
        }
    }
}

/// A message in few words.
fn brief(message: &Message) -> String {
    match message {
        Message::Fetch { from, to, fetch } => format!("{from} asks {to}: {}", trace::fetch(fetch)),
        Message::Answer { from, to, answer } => {
            format!("{from} answers {to}: {}", trace::answer(answer))
        }
        Message::Isr { from, request } => {
            format!("{from} wants at {}: isr {}", request.expected, trace::members(&request.isr))
        }
        Message::IsrRefused { to, expected } => format!("{to} is refused its wish at {expected}"),
    }
}

/// How likely each fault is in this run: other seeds, other weather.
#[derive(Clone, Copy, Debug)]
struct Weather {
    elect: u64,
    fence: u64,
    crash: u64,
    wipe: u64,
    lose: u64,
    repeat: u64,
    cut: u64,
    clean: u64,
    refuse: u64,
}

impl Weather {
    fn draw(random: &mut Random) -> Self {
        let mut any = |weights: &[u64]| weights[random.index(weights.len())];
        Self {
            elect: any(&[1, 2, 6]),
            fence: any(&[0, 1, 4]),
            crash: any(&[0, 1, 2, 4]),
            wipe: any(&[0, 0, 0, 10, 30]),
            lose: any(&[0, 1, 6]),
            repeat: any(&[0, 3, 12]),
            cut: any(&[0, 1, 3]),
            clean: any(&[0, 1, 4]),
            refuse: any(&[0, 0, 10, 40]),
        }
    }
}

/// The whole cluster.
#[derive(Debug)]
struct World {
    setup: Setup,
    random: Random,
    weather: Weather,
    now_ms: u64,
    nodes: Vec<Node>,
    operator: Operator,
    messages: VecDeque<Message>,
    clients: Vec<Client>,
    checker: Checker,
    /// Incarnations and marks that were given out.
    drawn: u64,
    violation: Option<Violation>,
    trace: Option<VecDeque<String>>,
}

impl World {
    fn new(seed: u64, setup: Setup, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let weather = Weather::draw(&mut random);
        let members: Vec<Member> = (0..setup.replicas)
            .map(|n| Member { broker: BrokerId(n), incarnation: incarnation(u64::from(n) + 1) })
            .collect();
        Self {
            setup,
            weather,
            now_ms: 1_000_000,
            nodes: members.iter().map(|member| Node::new(*member, settings(setup))).collect(),
            operator: Operator::new(members, setup.flush, 2),
            messages: VecDeque::new(),
            clients: (0..3).map(Client::new).collect(),
            checker: Checker::default(),
            drawn: u64::from(setup.replicas) + 1,
            violation: None,
            trace: traced.then(VecDeque::new),
            random,
        }
    }

    /// Notes a step, where somebody wants to read it.
    fn note(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() == TRACE_MAX {
            trace.pop_front();
        }
        trace.push_back(format!("{:>9} {}", self.now_ms, line()));
    }

    /// Notes that a rule was broken; the first one counts.
    fn judge(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn send(&mut self, message: Message) {
        if self.messages.len() == MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            self.step();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.end_in_quiet()
    }
}

fn incarnation(number: u64) -> Incarnation {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Incarnation(bytes)
}

fn settings(setup: Setup) -> Settings {
    Settings {
        lag_ms_max: 400,
        idle_ms: 50,
        isr_retry_ms: 100,
        refetch_ms: 20,
        tells_commits: setup.tells_commits,
        rules: setup.broken.map_or(Rules::default(), Rules::without),
    }
}
