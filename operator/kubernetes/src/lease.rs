//! Which of several operators is active: whoever holds the Lease.
//!
//! The state machine is apart from its IO. Nobody's clock is compared with another's: a lease has
//! run out when nobody was seen to renew it for its whole duration, by this process's own clock.
//! What is safe never depends on it, for records are written by compare-and-swap; it keeps two
//! operators from getting in each other's way.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::names::MANAGER;

/// For how long a holder that was not seen to renew still counts.
const DURATION: Duration = Duration::from_secs(3);
/// After how long without a renewal a holder stops; well before others may take over.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);
/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_millis(600);
/// Time to the next try after one that brought nothing.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Time between two looks of those who wait.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// The most that is added to a pause, so that two who wait do not do it in step.
const JITTER_MAX: Duration = Duration::from_millis(150);
/// The longest that one call may take.
const CALL_MAX: Duration = Duration::from_millis(800);

/// Where the Lease is, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Who this is: the name of the pod.
    pub identity: String,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nobody holds it, or whoever did is gone: take it.
    Take,
    /// It is ours: say so again.
    Renew,
    /// Somebody else's.
    Wait,
}

/// What one operator knows of the lease.
#[derive(Debug)]
struct Election {
    identity: String,
    /// Who held it when it changed last, with what, and when that was seen.
    seen: Option<(Option<String>, Option<String>, Instant)>,
    /// When this process began its last call that made it, or kept it, the holder.
    held: Option<Instant>,
}

impl Election {
    fn new(identity: String) -> Self {
        Self { identity, seen: None, held: None }
    }

    /// Takes what the API server has, and says what to do about it.
    fn observe(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.clone());
        let holder = holder.filter(|holder| !holder.is_empty());
        let version = lease.and_then(ResourceExt::resource_version);
        let changed = self.seen.as_ref().is_none_or(|(_, known, _)| *known != version);
        if changed {
            self.seen = Some((holder.clone(), version, now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, _, since)| *since);
        match holder {
            None => Step::Take,
            Some(holder) if holder == self.identity => Step::Renew,
            Some(_) => {
                // What it says of itself counts where it is longer than what we would grant.
                let told = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
                let told = Duration::from_secs(u64::try_from(told).unwrap_or(0));
                let over = now.duration_since(since) >= told.max(DURATION);
                if over { Step::Take } else { Step::Wait }
            }
        }
    }

    /// A write that was begun at `began` made us the holder.
    fn wrote(&mut self, began: Instant) {
        self.held = Some(began);
    }

    fn lost(&mut self) {
        self.held = None;
    }

    /// Whether this process may act as the holder.
    fn holds(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| now.duration_since(held) < GIVE_UP_AFTER)
    }

    /// Until the next round: where it is held, never past the moment at which it is to be given up.
    fn pause(&self, now: Instant, failed: bool, jitter: Duration) -> Duration {
        let left = self.held.map(|held| GIVE_UP_AFTER.saturating_sub(now.duration_since(held)));
        match left.filter(|left| !left.is_zero()) {
            Some(left) if failed => (RETRY_AFTER + jitter).min(left),
            Some(left) => (RENEW_EVERY + jitter).min(left),
            None => LOOK_EVERY + jitter,
        }
    }

    /// The Lease as it is to be written over `current`.
    fn written(&self, settings: &Settings, current: Option<Lease>, at: Timestamp) -> Lease {
        let mut lease = current.unwrap_or_default();
        lease.metadata.name = Some(settings.name.clone());
        lease.metadata.namespace = Some(settings.namespace.clone());
        lease.metadata.managed_fields = None;
        let before = lease.spec.take().unwrap_or_default();
        let ours = before.holder_identity.as_ref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: before.acquire_time.filter(|_| ours).or(Some(MicroTime(at))),
            renew_time: Some(MicroTime(at)),
            lease_transitions: Some(if ours { transitions } else { transitions + 1 }),
            ..before
        });
        lease
    }
}

/// Competes for the Lease until it is told to stop; tells whether it is held.
pub(crate) struct Competitor {
    api: Api<Lease>,
    settings: Settings,
    election: Election,
    active: watch::Sender<bool>,
    /// Whether the API server has ever answered.
    heard: watch::Sender<bool>,
    /// Grows with every pause; makes jitter of the identity.
    rounds: u32,
}

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no answer from the API server")]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Competitor {
    pub(crate) fn new(client: Client, settings: Settings) -> (Self, watch::Receiver<bool>) {
        let (active, told) = watch::channel(false);
        let (heard, _) = watch::channel(false);
        let api = Api::namespaced(client, &settings.namespace);
        let election = Election::new(settings.identity.clone());
        (Self { api, settings, election, active, heard, rounds: 0 }, told)
    }

    /// Tells when the API server has answered for the first time.
    pub(crate) fn heard(&self) -> watch::Receiver<bool> {
        self.heard.subscribe()
    }

    /// Runs until `stop`, and then gives the Lease back once `stopped` says that nothing acts
    /// on it any more.
    pub(crate) async fn run(mut self, stop: CancellationToken, stopped: CancellationToken) {
        let mut told = String::new();
        while !stop.is_cancelled() {
            let failed = match self.round().await {
                Ok(()) => {
                    told.clear();
                    self.heard.send_replace(true);
                    false
                }
                Err(error) => {
                    if error.to_string() != told {
                        told = error.to_string();
                        warn!("the lease can't be kept: {told}");
                    }
                    true
                }
            };
            self.tell();
            let jitter = self.jitter();
            tokio::select! {
                () = sleep(self.election.pause(Instant::now(), failed, jitter)) => {}
                () = stop.cancelled() => {}
            }
            self.tell();
        }
        // Active operators end before anyone else may take over.
        self.active.send_replace(false);
        if timeout(DURATION, stopped.cancelled()).await.is_ok()
            && let Err(error) = self.release().await
        {
            warn!("the lease is not given back, so others wait for its end: {error}");
        }
    }

    async fn round(&mut self) -> Result<(), Error> {
        let current = call(self.api.get_opt(&self.settings.name)).await?;
        let began = Instant::now();
        match self.election.observe(current.as_ref(), began) {
            Step::Wait => {
                self.election.lost();
                return Ok(());
            }
            Step::Take | Step::Renew => {}
        }
        let next = self.election.written(&self.settings, current, Timestamp::now());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let write = async {
            if next.metadata.resource_version.is_some() {
                call(self.api.replace(&self.settings.name, &params, &next)).await
            } else {
                call(self.api.create(&params, &next)).await
            }
        };
        match write.await {
            Ok(_) => self.election.wrote(began),
            // Somebody was faster; what they wrote is seen next time.
            Err(Error::Api(kube::Error::Api(status))) if status.code == 409 => self.election.lost(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn tell(&mut self) {
        let holds = self.election.holds(Instant::now());
        self.active.send_if_modified(|active| {
            let changed = *active != holds;
            if changed && holds {
                info!("this operator is active");
            } else if changed {
                warn!("this operator is no longer active: it could not renew its lease");
            }
            *active = holds;
            changed
        });
    }

    /// So that those who wait do not do it in step.
    fn jitter(&mut self) -> Duration {
        self.rounds = self.rounds.wrapping_add(1);
        let seed =
            self.settings.identity.bytes().fold(self.rounds, |seed, byte| {
                seed.wrapping_mul(31).wrapping_add(u32::from(byte))
            });
        JITTER_MAX * (seed % 64) / 64
    }

    async fn release(&self) -> Result<(), Error> {
        let Some(mut lease) = call(self.api.get_opt(&self.settings.name)).await? else {
            return Ok(());
        };
        let Some(spec) = &mut lease.spec else { return Ok(()) };
        if spec.holder_identity.as_ref() != Some(&self.settings.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        lease.metadata.managed_fields = None;
        call(self.api.replace(&self.settings.name, &PostParams::default(), &lease)).await?;
        info!("the lease is given back");
        Ok(())
    }
}

async fn call<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    Ok(timeout(CALL_MAX, call).await.map_err(|_| Error::Timeout)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str, seconds: i32) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        });
        lease
    }

    #[test]
    fn a_lease_runs_out_by_the_clock_of_who_waits() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut election = Election::new("b".to_owned());
        assert_eq!(election.observe(None, start), Step::Take);
        assert_eq!(election.observe(Some(&lease("", "1", 3)), start), Step::Take);
        assert_eq!(election.observe(Some(&lease("b", "2", 3)), start), Step::Renew);
        assert_eq!(election.observe(Some(&lease("a", "3", 3)), at(1)), Step::Wait);
        // Every renewal begins the wait anew, whatever times are in it.
        assert_eq!(election.observe(Some(&lease("a", "4", 3)), at(3)), Step::Wait);
        assert_eq!(election.observe(Some(&lease("a", "4", 3)), at(5)), Step::Wait);
        assert_eq!(election.observe(Some(&lease("a", "4", 3)), at(6)), Step::Take);
        // One that was granted more has more.
        assert_eq!(election.observe(Some(&lease("a", "5", 30)), at(20)), Step::Wait);
        assert_eq!(election.observe(Some(&lease("a", "5", 30)), at(49)), Step::Wait);
        assert_eq!(election.observe(Some(&lease("a", "5", 30)), at(50)), Step::Take);
    }

    #[test]
    fn a_holder_that_cannot_renew_stops_before_others_begin() {
        let start = Instant::now();
        let mut election = Election::new("a".to_owned());
        assert!(!election.holds(start));
        election.wrote(start);
        assert!(election.holds(start + GIVE_UP_AFTER - Duration::from_millis(1)));
        assert!(!election.holds(start + GIVE_UP_AFTER));
        // Even a write whose answer came late, and a look just after it.
        assert!(GIVE_UP_AFTER + Duration::from_secs(1) <= DURATION);
        election.wrote(start + Duration::from_secs(9));
        election.lost();
        assert!(!election.holds(start + Duration::from_secs(9)));
    }

    #[test]
    fn no_round_follows_another_without_a_pause_but_the_one_that_gives_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut election = Election::new("a".to_owned());
        let jitter = Duration::from_millis(7);
        assert_eq!(election.pause(start, true, jitter), LOOK_EVERY + jitter);
        election.wrote(start);
        assert_eq!(election.pause(at(0), false, jitter), RENEW_EVERY + jitter);
        assert_eq!(election.pause(at(900), true, jitter), RETRY_AFTER + jitter);
        assert_eq!(election.pause(at(1_950), true, jitter), Duration::from_millis(50));
        // However long the API server has been away since it was held.
        for ms in [2_000, 2_001, 60_000] {
            assert_eq!(election.pause(at(ms), true, jitter), LOOK_EVERY + jitter, "{ms}");
        }
    }

    #[test]
    fn a_takeover_is_counted_and_a_renewal_is_not() {
        let settings = Settings {
            name: "holdfast".to_owned(),
            namespace: "shop".to_owned(),
            identity: "b".to_owned(),
        };
        let election = Election::new("b".to_owned());
        let now = Timestamp::now();
        let taken = election.written(&settings, Some(lease("a", "7", 6)), now);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(spec.lease_transitions, Some(5));
        let renewed = election.written(&settings, Some(taken), now).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(5));
        assert_eq!(renewed.acquire_time, spec.acquire_time);
    }
}
