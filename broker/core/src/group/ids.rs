//! Member ids: told apart for ever, drawn from a seed.

use std::fmt::Write;

use holdfast_protocol::Epoch;

/// Draws the ids of new members (`SplitMix64`, started from a seed and the epoch).
#[derive(Debug)]
pub(super) struct MemberIds {
    state: u64,
}

impl MemberIds {
    /// The epoch is part of the start, so that a careless seed gives no id twice.
    pub(super) fn new(seed: u64, epoch: Epoch) -> Self {
        let mut epochs = Self { state: u64::from(epoch.0) };
        Self { state: seed ^ epochs.draw() }
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `prefix`, a hyphen, and 32 hexadecimal digits hyphenated as a UUID is.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        let mut id = String::with_capacity(prefix.len() + 37);
        id.push_str(prefix);
        let bytes = [self.draw().to_be_bytes(), self.draw().to_be_bytes()].concat();
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 0 | 4 | 6 | 8 | 10) {
                id.push('-');
            }
            write!(id, "{byte:02x}").expect("writing to a string does not fail");
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_seed_and_the_epoch() {
        let first = |seed, epoch| MemberIds::new(seed, Epoch(epoch)).next("app");
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
        let id = first(1, 1);
        assert_eq!(id.len(), "app-".len() + 36);
        assert!(id.starts_with("app-"));
    }
}
