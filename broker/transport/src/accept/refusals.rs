//! Who was refused, told once for each address and reason.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use tracing::{debug, warn};

/// Addresses whose reasons are remembered; the next one begins anew.
const ADDRESSES_MAX: usize = 256;
/// Reasons that are told of one address: a stranger may choose some of the words.
const REASONS_MAX: usize = 4;

#[derive(Default)]
pub(super) struct Refusals(HashMap<IpAddr, Vec<String>>);

impl Refusals {
    pub(super) fn tell(&mut self, from: SocketAddr, reason: &str) {
        if self.is_new(from.ip(), reason) {
            warn!(%from, reason, "a connection to the internal port is refused");
        } else {
            debug!(%from, reason, "a connection to the internal port is refused again");
        }
    }

    fn is_new(&mut self, from: IpAddr, reason: &str) -> bool {
        if !self.0.contains_key(&from) && self.0.len() >= ADDRESSES_MAX {
            self.0.clear();
        }
        let told = self.0.entry(from).or_default();
        let new = told.len() < REASONS_MAX && told.iter().all(|known| known != reason);
        if new {
            told.push(reason.to_owned());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_reason_is_new_once_and_what_is_told_and_remembered_is_bounded() {
        let mut refusals = Refusals::default();
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        for (from, reason, new) in [
            (1, "no certificate", true),
            (1, "no certificate", false),
            (2, "no certificate", true),
            (1, "unknown authority", true),
            (1, "no certificate", false),
        ] {
            assert_eq!(refusals.is_new(address(from), reason), new, "{from} {reason}");
        }
        let told = (0..1000).filter(|n| refusals.is_new(address(3), &n.to_string())).count();
        assert_eq!(told, REASONS_MAX);
        for n in 0..10_000 {
            refusals.is_new(address(n), "no certificate");
            assert!(refusals.0.len() <= ADDRESSES_MAX);
        }
    }
}
