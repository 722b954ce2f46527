//! Who listens where on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, anyhow, bail};

/// Ports of one kind end where those of the next begin.
const PEER_ABOVE_KAFKA: u16 = 100;
const HTTP_ABOVE_KAFKA: u16 = 200;

/// The addresses of all brokers.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    base: u16,
    brokers: u16,
}

impl Addresses {
    /// Addresses from the Kafka port of the first broker on.
    ///
    /// # Errors
    /// Where they go beyond the last port.
    pub(crate) fn new(base: u16, brokers: u32) -> anyhow::Result<Self> {
        let count = u16::try_from(brokers).ok().filter(|count| *count <= PEER_ABOVE_KAFKA);
        let brokers = count.with_context(|| {
            format!("{brokers} brokers are too many for one machine: at most {PEER_ABOVE_KAFKA}")
        })?;
        if base == 0 || base.checked_add(HTTP_ABOVE_KAFKA + brokers).is_none() {
            bail!(
                "the ports from {base} on do not suffice: choose a --port-base between 1 and {}",
                u16::MAX - HTTP_ABOVE_KAFKA - brokers
            );
        }
        Ok(Self { base, brokers })
    }

    fn at(&self, above: u16, broker: u32) -> SocketAddr {
        let broker = u16::try_from(broker).unwrap_or(0);
        (Ipv4Addr::LOCALHOST, self.base + above + broker).into()
    }

    /// For Kafka clients.
    pub(crate) fn kafka(&self, broker: u32) -> SocketAddr {
        self.at(0, broker)
    }

    /// For other brokers and the operator.
    pub(crate) fn peer(&self, broker: u32) -> SocketAddr {
        self.at(PEER_ABOVE_KAFKA, broker)
    }

    /// For metrics and probes.
    pub(crate) fn http(&self, broker: u32) -> SocketAddr {
        self.at(HTTP_ABOVE_KAFKA, broker)
    }

    /// What a client is given to connect to.
    pub(crate) fn bootstrap(&self) -> String {
        let all = (0..u32::from(self.brokers)).map(|id| self.kafka(id).to_string());
        all.collect::<Vec<_>>().join(",")
    }

    /// Sees to it that nobody else listens on any of them.
    ///
    /// # Errors
    /// Which port is taken, what for it is wanted, and what to do.
    pub(crate) fn check_free(&self) -> anyhow::Result<()> {
        for broker in 0..u32::from(self.brokers) {
            for (what, address) in [
                ("Kafka clients", self.kafka(broker)),
                ("the other brokers", self.peer(broker)),
                ("metrics and probes", self.http(broker)),
            ] {
                check(address).map_err(|why| {
                    anyhow!(
                        "port {} {why}, and broker {broker} needs it for {what}: stop what \
                         listens there, or choose other ports with --port-base",
                        address.port()
                    )
                })?;
            }
        }
        Ok(())
    }
}

/// Why nobody can listen there, if so.
fn check(address: SocketAddr) -> Result<(), String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err("is taken".to_owned()),
        Err(error) => Err(format!("can't be used ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_base() {
        let addresses = Addresses::new(9092, 3).unwrap();
        assert_eq!(addresses.bootstrap(), "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094");
        assert_eq!(addresses.peer(1).port(), 9193);
        assert_eq!(addresses.http(2).port(), 9294);
        assert!(Addresses::new(65_400, 3).is_err());
        assert!(Addresses::new(9092, 101).is_err());
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(65_000);
        let error = format!("{:#}", Addresses::new(port, 1).unwrap().check_free().unwrap_err());
        let expected = format!("port {port} is taken, and broker 0 needs it for Kafka clients");
        assert!(error.contains(&expected), "{error}");
    }
}
