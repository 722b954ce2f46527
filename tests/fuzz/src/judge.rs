//! Runs a target on one input, and says whether that was well.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::Target;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// An input that takes longer hangs, however slow the machine.
const HANG: Duration = Duration::from_secs(60);
/// Memory that the process may ask for, bytes: what asks for far too much fails at once, and not
/// by taking the machine's.
const ADDRESS_SPACE_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// What was said by the first panic since this was emptied, in whatever thread.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);
/// When the present run began, milliseconds since the judge was made, plus one; 0 for no run.
static BEGAN_MS: AtomicU64 = AtomicU64::new(0);

/// Why an input is one to mend something for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Somewhere it panicked.
    Panic(String),
    /// It took more memory at once than is stated, bytes.
    Memory(usize),
}

/// Runs one target.
pub struct Judge {
    target: &'static Target,
    /// The input under way, for when the process does not survive it.
    current: File,
    path: PathBuf,
    begun: Instant,
}

impl Judge {
    /// A judge that leaves the input under way in `directory`. One a process: it watches for
    /// panics and hangs everywhere in it.
    ///
    /// # Errors
    /// Where the directory can't be written to.
    pub fn new(target: &'static Target, directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{}-{}", target.name, std::process::id()));
        let current = File::create(&path)?;
        let most = Some(ADDRESS_SPACE_BYTES);
        setrlimit(Resource::As, Rlimit { current: most, maximum: most })?;
        std::panic::set_hook(Box::new(|panic| {
            let mut first = PANICKED.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| panic.to_string());
        }));
        let begun = Instant::now();
        std::thread::spawn(move || watch(begun));
        let mut judge = Self { target, current, path, begun };
        // What is made once and kept, such as compiled rules, is not the first input's.
        for input in (target.seeds)().iter().take(1) {
            judge.run(input);
        }
        Ok(judge)
    }

    /// Where the input under way is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the target; gives the most memory that it took at once, bytes.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn judge(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let peak = self.run(input);
        if let Some(said) = PANICKED.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Fault::Panic(said));
        }
        if peak > self.target.memory_bytes_max {
            return Err(Fault::Memory(peak));
        }
        Ok(peak)
    }

    /// Runs the target, whatever becomes of it; gives the most memory that it took, bytes.
    pub(crate) fn run(&mut self, input: &[u8]) -> usize {
        self.keep(input);
        let began = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        BEGAN_MS.store(began.saturating_add(1), Ordering::Relaxed);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let ended = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        BEGAN_MS.store(0, Ordering::Relaxed);
        drop(ended);
        peak
    }

    /// Best effort: it only helps to find what killed the process.
    fn keep(&mut self, input: &[u8]) {
        use std::io::{Seek, SeekFrom};
        let _ = self
            .current
            .set_len(0)
            .and_then(|()| self.current.seek(SeekFrom::Start(0)))
            .and_then(|_| self.current.write_all(input));
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It survived them all.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Ends the process where an input hangs.
fn watch(begun: Instant) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let began = BEGAN_MS.load(Ordering::Relaxed);
        let now = begun.elapsed().as_millis();
        if began > 0 && now > u128::from(began) + HANG.as_millis() {
            eprintln!("an input hangs for more than {HANG:?}");
            std::process::abort();
        }
    }
}
