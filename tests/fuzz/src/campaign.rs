//! Many inputs to one target, under one seed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Target;
use crate::corpus;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::judge::{Fault, Judge};
use crate::mutate::mutate;

/// Of a hundred inputs, so many have their lengths and checksums made right.
const REPAIRED_PERCENT: usize = 80;

/// How long a campaign goes on.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// After so many mutated inputs.
    Runs(u64),
    /// After so long.
    Time(Duration),
}

/// What a campaign came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Mutated inputs.
    pub runs: u64,
    /// The most memory that one input took, bytes.
    pub memory_bytes: usize,
    /// Inputs that reached new code.
    pub kept: usize,
    /// Places in the code that were reached, where they are counted.
    pub reached: usize,
}

/// Why a campaign ended early.
#[derive(Debug)]
pub enum End {
    /// An input broke something: which, where it is kept.
    Found(Fault, PathBuf),
    /// A file could not be read or written.
    Io(std::io::Error),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// One target, and the inputs to go on from.
pub struct Campaign {
    target: &'static Target,
    judge: Judge,
    dice: Dice,
    inputs: Vec<Vec<u8>>,
    coverage: Coverage,
    report: Report,
    /// Where inputs that reach new code are kept for the next time.
    grown: Option<PathBuf>,
}

impl Campaign {
    /// Replays the seeds, the committed corpus and what is in `grown`. Files for the time being go
    /// to `scratch`.
    ///
    /// # Errors
    /// [`End`].
    pub fn new(
        target: &'static Target,
        seed: u64,
        scratch: &Path,
        grown: Option<PathBuf>,
    ) -> Result<Self, End> {
        let mut inputs = (target.seeds)();
        inputs.extend(corpus::read(&corpus::directory(target))?);
        if let Some(grown) = &grown {
            inputs.extend(corpus::read(grown)?);
        }
        let mut campaign = Self {
            target,
            judge: Judge::new(target, scratch)?,
            dice: Dice::new(seed),
            inputs: Vec::new(),
            coverage: Coverage::default(),
            report: Report { corpus: inputs.len(), ..Report::default() },
            grown: None,
        };
        for input in inputs {
            campaign.take(input, true)?;
        }
        campaign.grown = grown;
        Ok(campaign)
    }

    /// Mutates for so long.
    ///
    /// # Errors
    /// [`End`].
    pub fn run(mut self, length: Length) -> Result<Report, End> {
        let begun = Instant::now();
        loop {
            let over = match length {
                Length::Runs(runs) => self.report.runs >= runs,
                Length::Time(time) => begun.elapsed() >= time,
            };
            if over {
                break;
            }
            let input = self.draw();
            self.report.runs += 1;
            self.take(input, false)?;
        }
        self.report.reached = self.coverage.reached();
        Ok(self.report)
    }

    /// Of `inputs`, the smallest that each reach what those before did not.
    ///
    /// # Errors
    /// [`End`].
    pub fn distil(
        target: &'static Target,
        scratch: &Path,
        mut inputs: Vec<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, End> {
        inputs.sort_by_key(Vec::len);
        let mut judge = Judge::new(target, scratch)?;
        let mut coverage = Coverage::default();
        for seed in (target.seeds)() {
            judge.run(&seed);
            coverage.note();
        }
        let mut before = coverage.reached();
        inputs.retain(|input| {
            judge.run(input);
            coverage.note();
            let reached = coverage.reached();
            std::mem::replace(&mut before, reached) < reached
        });
        Ok(inputs)
    }

    fn draw(&mut self) -> Vec<u8> {
        let mut input = self.dice.pick(&self.inputs).cloned().unwrap_or_default();
        let other = self.dice.pick(&self.inputs).cloned().unwrap_or_default();
        let Target { words, input_bytes_max, .. } = self.target;
        mutate(&mut self.dice, &mut input, &other, words, *input_bytes_max);
        if self.dice.chance(REPAIRED_PERCENT) {
            (self.target.repair)(&mut input);
        }
        input
    }

    fn take(&mut self, input: Vec<u8>, is_given: bool) -> Result<(), End> {
        let peak = match self.judge.judge(&input) {
            Ok(peak) => peak,
            Err(fault) => {
                let path = corpus::keep(&corpus::directory(self.target), "found-", &input)?;
                return Err(End::Found(fault, path));
            }
        };
        self.report.memory_bytes = self.report.memory_bytes.max(peak);
        let is_new = self.coverage.note();
        if is_new && !is_given {
            self.report.kept += 1;
            if let Some(grown) = &self.grown {
                corpus::keep(grown, "", &input)?;
            }
        }
        if is_new || is_given {
            self.inputs.push(input);
        }
        Ok(())
    }
}
