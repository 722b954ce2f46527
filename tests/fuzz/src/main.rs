//! Runs targets for a while with fresh seeds, or one of them as it was run before.
//!
//! usage: `holdfast-fuzz SECONDS [TARGET...]`: so many seconds in all, two targets at a time, each
//! in a process of its own; `holdfast-fuzz --one TARGET SEED RUNS`: so many inputs of one seed
//! (`RUNS` may be a time, `60s`); `holdfast-fuzz --replay TARGET FILE`: one input;
//! `holdfast-fuzz --distil TARGET`: takes what is worth keeping into the committed corpus.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_fuzz::campaign::{Campaign, End, Length, Report};
use holdfast_fuzz::judge::Judge;
use holdfast_fuzz::{TARGETS, Target, corpus};

/// Targets that run at a time.
const AT_A_TIME: usize = 2;
/// Distilled inputs that are committed of a target at most.
const CORPUS_MAX: usize = 48;
/// Where inputs that reach new code are kept for the next time, from the checkout on.
const GROWN: &str = ".cache/fuzz";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--one", name, seed, length] => one(name, seed, length),
        ["--replay", name, file] => replay(name, Path::new(file)),
        ["--distil", name] => distil(name),
        [seconds, names @ ..] => match seconds.parse() {
            Ok(seconds) => all(Duration::from_secs(seconds), names),
            Err(_) => Err(format!("{seconds} is no number of seconds")),
        },
        [] => Err("usage: holdfast-fuzz SECONDS [TARGET...]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn target(name: &str) -> Result<&'static Target, String> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target {name}; there are {}", names()))
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join("holdfast-fuzz")
}

fn grown(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(GROWN).join(target.name)
}

fn one(name: &str, seed: &str, length: &str) -> Result<(), String> {
    let target = target(name)?;
    let seed = seed.parse().map_err(|_| format!("{seed} is no seed"))?;
    let seconds = length.strip_suffix('s').map(str::parse);
    let length = match (seconds, length.parse()) {
        (Some(Ok(seconds)), _) => Length::Time(Duration::from_secs(seconds)),
        (None, Ok(runs)) => Length::Runs(runs),
        _ => return Err(format!("{length} is neither a number of inputs nor a time")),
    };
    let grown = matches!(length, Length::Time(_)).then(|| grown(target));
    let ran = Campaign::new(target, seed, &scratch(), grown).and_then(|it| it.run(length));
    match ran {
        Ok(report) => {
            println!("{}", line(target, seed, report));
            Ok(())
        }
        Err(End::Found(fault, path)) => {
            Err(format!("{name}, seed {seed}: {fault:?}\ncommit this input: {}", path.display()))
        }
        Err(End::Io(error)) => Err(format!("{name}: {error}")),
    }
}

fn line(target: &Target, seed: u64, report: Report) -> String {
    let Report { corpus, runs, memory_bytes, kept, reached } = report;
    let (memory, most) = (memory_bytes / 1024, target.memory_bytes_max / 1024);
    let mut line = format!(
        "{:16} seed {seed}: corpus {corpus}, inputs {runs}, memory {memory} of {most} KiB",
        target.name
    );
    if reached > 0 {
        line += &format!(", reached {reached}, new {kept}");
    }
    line
}

fn replay(name: &str, file: &Path) -> Result<(), String> {
    let target = target(name)?;
    let fail = |error: std::io::Error| format!("{}: {error}", file.display());
    let input = std::fs::read(file).map_err(fail)?;
    let mut judge = Judge::new(target, &scratch()).map_err(fail)?;
    match judge.judge(&input) {
        Ok(memory) => {
            println!("{name}: well, with {} KiB", memory / 1024);
            Ok(())
        }
        Err(fault) => Err(format!("{name}: {fault:?}")),
    }
}

/// Takes the inputs that reach code which no seed does into the corpus; the largest are left out.
fn distil(name: &str) -> Result<(), String> {
    let target = target(name)?;
    let fail = |error: std::io::Error| format!("{name}: {error}");
    let committed = corpus::directory(target);
    let mut inputs = corpus::read(&committed).map_err(fail)?;
    inputs.extend(corpus::read(&grown(target)).map_err(fail)?);
    let kept = Campaign::distil(target, &scratch(), inputs);
    let kept = kept.map_err(|end| format!("{name}: {end:?}"))?;
    for input in kept.iter().take(CORPUS_MAX) {
        corpus::keep(&committed, "", input).map_err(fail)?;
    }
    println!("{name}: {} of {} inputs kept", kept.len().min(CORPUS_MAX), kept.len());
    Ok(())
}

/// Divides the time among the targets, each with a fresh seed.
fn all(time: Duration, names: &[&str]) -> Result<(), String> {
    let chosen = match names {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(|name| target(name)).collect::<Result<Vec<_>, _>>()?,
    };
    let share =
        time * u32::try_from(AT_A_TIME).unwrap_or(1) / u32::try_from(chosen.len()).unwrap_or(1);
    let length = format!("{}s", share.as_secs().max(1));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = since.as_secs().to_string();
    println!("{} targets, {length} each, seed {seed}", chosen.len());
    let mut left = chosen.into_iter();
    let mut running: Vec<(&str, Child)> = Vec::new();
    let mut failed = Vec::new();
    loop {
        while running.len() < AT_A_TIME
            && let Some(target) = left.next()
        {
            let child = begin(target, &seed, &length).map_err(|error| error.to_string())?;
            running.push((target.name, child));
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        running.retain_mut(|(name, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => false,
            ended => {
                eprintln!(
                    "{name}: {ended:?}; if it was killed, its last input is in {:?}",
                    scratch()
                );
                failed.push(*name);
                false
            }
        });
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn begin(target: &Target, seed: &str, length: &str) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program).args(["--one", target.name, seed, length]).spawn()
}
