//! Which code an input reached, where the compiler was told to count (LLVM's SanitizerCoverage with
//! inline 8-bit counters). Without, every input is as good as another.

#[cfg(feature = "coverage")]
use std::sync::{Mutex, PoisonError};

/// The counters of each module: first byte and length.
#[cfg(feature = "coverage")]
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by every instrumented module as the process starts.
#[cfg(feature = "coverage")]
#[allow(unsafe_code)] // the compiler's counters call it by this name
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(first: *mut u8, end: *mut u8) {
    let (first, end) = (first as usize, end as usize);
    let mut counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if end > first && !counters.contains(&(first, end - first)) {
        counters.push((first, end - first));
    }
}

/// Also called where the compiler adds a table of addresses, which is of no use here.
#[cfg(feature = "coverage")]
#[allow(unsafe_code)] // as above
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_first: *const usize, _end: *const usize) {}

/// Counters looked at together.
#[cfg(feature = "coverage")]
const ROW: usize = 64;

/// Notes what a row of counters says, and begins them anew; true where that is something new.
#[cfg(feature = "coverage")]
fn note_row(row: &mut [u8], seen: &mut [u8], reached: &mut usize) -> bool {
    let mut new = false;
    for (count, seen) in row.iter_mut().zip(seen) {
        if *count == 0 {
            continue;
        }
        let magnitude = 1 << (7 - std::mem::take(count).leading_zeros().min(7));
        if *seen & magnitude == 0 {
            *reached += usize::from(*seen == 0);
            *seen |= magnitude;
            new = true;
        }
    }
    new
}

/// What all inputs so far have reached.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// For every counter, which magnitudes it has had.
    #[cfg(feature = "coverage")]
    seen: Vec<u8>,
    reached: usize,
}

impl Coverage {
    /// Places in the code that were reached.
    pub(crate) fn reached(&self) -> usize {
        self.reached
    }

    /// Notes what was reached since the last time; true where that is something new.
    #[cfg(feature = "coverage")]
    pub(crate) fn note(&mut self) -> bool {
        let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut new, mut at) = (false, 0);
        for (first, length) in counters.iter() {
            self.seen.resize(self.seen.len().max(at + length), 0);
            // The instrumented code of this process alone writes there, and no thread of it but
            // this one runs a target.
            #[allow(unsafe_code)] // the counters are static memory of the module that told them
            let module = unsafe { std::slice::from_raw_parts_mut(*first as *mut u8, *length) };
            // Nearly all of them are zero: looked at in rows.
            for (row, seen) in module.chunks_mut(ROW).zip(self.seen[at..].chunks_mut(ROW)) {
                if row.iter().fold(0, |all, count| all | count) != 0 {
                    new |= note_row(row, seen, &mut self.reached);
                }
            }
            at += length;
        }
        new
    }

    /// Notes nothing: nothing was counted.
    #[cfg(not(feature = "coverage"))]
    pub(crate) fn note(&mut self) -> bool {
        self.reached = 0;
        false
    }
}
