//! The life of an authority, told by real handshakes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_transport::{Peer, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use super::*;

mod confirmed;

const BOUND: Duration = Duration::from_secs(20);
const BROKERS: u32 = 2;

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn wanted(brokers: u32) -> Wanted {
    Wanted {
        cluster: "shop/orders".to_owned(),
        brokers: (0..brokers).map(BrokerId).collect(),
        authority_since_s: 0,
    }
}

/// The two Secrets.
#[derive(Clone, Default)]
struct Secrets {
    private: Files,
    brokers: Files,
}

impl Secrets {
    fn bundle(&self) -> Bundle {
        Bundle::read(&self.private, &self.brokers)
    }

    /// Renews and writes; what was changed.
    fn renew(&mut self, wanted: &Wanted, now_s: i64) -> Vec<String> {
        self.renew_by(wanted, &all(wanted, &Use::Away), now_s)
    }

    /// The same, where this is known of the holders.
    fn renew_by(&mut self, wanted: &Wanted, uses: &Uses, now_s: i64) -> Vec<String> {
        let Some(renewal) = renew(&self.bundle(), wanted, uses, now_s).unwrap() else {
            return Vec::new();
        };
        self.private = renewal.bundle.private();
        self.brokers = renewal.bundle.brokers();
        let read = self.bundle();
        assert!(renew(&read, wanted, uses, now_s).unwrap().is_none(), "it settles in one round");
        renewal.changes.iter().map(ToString::to_string).collect()
    }
}

/// The same of every holder.
fn all(wanted: &Wanted, known: &Use) -> Uses {
    holders(wanted).map(|role| (role, known.clone())).collect()
}

fn tls(bundle: &Bundle, role: Role) -> Tls {
    let own = Identity::new("shop/orders", role).unwrap();
    Tls::new(own, &bundle.credentials(role).unwrap()).unwrap()
}

/// Whether who dials and who is dialled take each other.
async fn talk(dials: &Tls, dialled: &Tls) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepting, mut incoming) = holdfast_transport::accept(listener, Some(dialled.clone()));
    let accepting = tokio::spawn(accepting);
    let dial = holdfast_transport::handshake(&address, dials, dialled.own().role());
    // In TLS 1.3 who dials is through before it is refused: only what comes back shows.
    let asks = async {
        let mut stream = dial.await.ok()?;
        stream.write_all(b"?").await.ok()?;
        stream.read_u8().await.ok()
    };
    let answers = async {
        let mut connection = incoming.next().await.unwrap().unwrap();
        assert_eq!(connection.peer(), Peer::Proven(dials.own().role()));
        connection.write_all(b"!").await.unwrap();
        connection.flush().await.unwrap();
        std::future::pending::<()>().await;
    };
    let answer = timeout(BOUND, async {
        tokio::select! {
            answer = asks => answer,
            () = answers => None,
        }
    });
    let answer = answer.await.unwrap();
    accepting.abort();
    answer == Some(b'!')
}

/// Whether every holder of the one talks with every holder of the other, both ways.
async fn all_talk(one: &Bundle, other: &Bundle) -> bool {
    for (from, to) in [(one, other), (other, one)] {
        for dials in [Role::Operator, Role::Broker(BrokerId(0))] {
            let (dials, dialled) = (tls(from, dials), tls(to, Role::Broker(BrokerId(1))));
            if !talk(&dials, &dialled).await {
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn a_rotation_leaves_nobody_out_and_ends_the_old_authority() {
    let (wanted, now_s) = (wanted(BROKERS), now_s());
    let mut secrets = Secrets::default();
    // So that the authority is due now, and what is made meanwhile is valid now.
    let born_s = now_s - AUTHORITY_LIFE_S / 3 * 2;
    let mut at_s = born_s;
    let mut rounds = 0;
    while at_s < now_s {
        let changes = secrets.renew(&wanted, at_s);
        let expected = if at_s == born_s { 4 } else { 3 };
        assert_eq!(changes.len(), expected, "issued anew in time and together: {changes:?}");
        let until_s = (at_s + LEAF_LIFE_S / 3 * 2).min(now_s);
        assert!(secrets.renew(&wanted, until_s - 1).is_empty(), "nothing is done before it is due");
        at_s = until_s;
        rounds += 1;
    }
    assert_eq!(rounds, 9);
    let old = secrets.bundle();
    let mut before = old.clone();
    let (made_s, one, two) = (now_s, now_s + PROPAGATION_S, now_s + 2 * PROPAGATION_S);
    assert_eq!(old.stage(), Some(Stage::Alone { made_s: born_s }));
    let steps = [
        (now_s, "the next authority is made", Stage::Prepared { made_s, until_s: one }),
        (one, "the next authority issues", Stage::Promoted { made_s, until_s: two }),
        (two, "the old authority is trusted no more", Stage::Alone { made_s }),
    ];
    for (at_s, expected, stage) in steps {
        assert!(secrets.renew(&wanted, at_s - 1).is_empty(), "too early: {expected}");
        let changes = secrets.renew(&wanted, at_s);
        assert!(changes[0].starts_with(expected), "{changes:?}");
        let after = secrets.bundle();
        assert_eq!(after.stage(), Some(stage), "{expected}");
        assert!(all_talk(&after, &after).await, "all have seen: {expected}");
        assert!(all_talk(&before, &after).await, "some have not seen: {expected}");
        before = after;
    }
    assert!(secrets.renew(&wanted, now_s + 3 * PROPAGATION_S).is_empty());
    let end = secrets.bundle();
    assert!(!all_talk(&old, &end).await);
    let (stale, fresh) = (tls(&old, Role::Operator), tls(&end, Role::Broker(BrokerId(1))));
    assert!(!talk(&stale, &fresh).await, "the old authority's certificates are void");
    let (fresh, stale) = (tls(&end, Role::Operator), tls(&old, Role::Broker(BrokerId(1))));
    assert!(!talk(&fresh, &stale).await, "also those of who is dialled");
}

/// The bundles of a rotation, from the one before it to the one in which the old authority is void.
fn rotation() -> Vec<Bundle> {
    let begun_s = now_s() - 3 * PROPAGATION_S;
    let asked = Wanted { authority_since_s: begun_s + 1, ..wanted(BROKERS) };
    let mut secrets = Secrets::default();
    secrets.renew(&wanted(BROKERS), begun_s);
    let mut bundles = vec![secrets.bundle()];
    for step in 0..3 {
        assert!(!secrets.renew(&asked, begun_s + 1 + step * PROPAGATION_S).is_empty());
        bundles.push(secrets.bundle());
    }
    bundles
}

fn replace(tls: &Tls, bundle: &Bundle) {
    tls.replace(&bundle.credentials(tls.own().role()).unwrap()).unwrap();
}

#[tokio::test]
async fn who_came_in_by_an_old_authority_goes_with_it() {
    let bundles = rotation();
    let broker = Role::Broker(BrokerId(1));
    let (dials, dialled) = (tls(&bundles[0], Role::Operator), tls(&bundles[0], broker));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepting, mut incoming) = holdfast_transport::accept(listener, Some(dialled.clone()));
    let accepting = tokio::spawn(accepting);
    let mut stays = holdfast_transport::handshake(&address, &dials, broker).await.unwrap();
    let mut connection = incoming.next().await.unwrap().unwrap();
    for (step, bundle) in bundles.iter().enumerate() {
        replace(&dialled, bundle);
        stays.write_all(b"?").await.unwrap();
        let heard = timeout(BOUND, connection.read_u8()).await.unwrap();
        assert_eq!(heard.is_ok(), step < 3, "step {step}: {heard:?}");
    }
    // Who has what is trusted now comes in, and stays.
    let dials = tls(&bundles[3], Role::Operator);
    let mut comes = holdfast_transport::handshake(&address, &dials, broker).await.unwrap();
    let mut connection = incoming.next().await.unwrap().unwrap();
    replace(&dialled, &bundles[3]);
    comes.write_all(b"?").await.unwrap();
    assert_eq!(timeout(BOUND, connection.read_u8()).await.unwrap().unwrap(), b'?');
    accepting.abort();
}

#[tokio::test]
async fn who_was_dialled_by_an_old_authority_is_left() {
    let bundles = rotation();
    let broker = Role::Broker(BrokerId(1));
    let (dials, dialled) = (tls(&bundles[0], Role::Operator), tls(&bundles[0], broker));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepting, mut incoming) = holdfast_transport::accept(listener, Some(dialled));
    let accepting = tokio::spawn(accepting);
    let endpoint = holdfast_transport::endpoint(&address).unwrap();
    let _channel = holdfast_transport::connect(endpoint, Some(&dials), broker).await.unwrap();
    let mut connection = incoming.next().await.unwrap().unwrap();
    let mut said = [0; 1024];
    assert!(timeout(BOUND, connection.read(&mut said)).await.unwrap().unwrap() > 0);
    replace(&dials, &bundles[3]);
    let left = async { while connection.read(&mut said).await.is_ok_and(|read| read > 0) {} };
    timeout(BOUND, left).await.expect("the one who is not trusted any more is left");
    accepting.abort();
}

#[test]
fn a_person_can_have_another_authority_and_brokers_come_and_go() {
    let now_s = 1_800_000_000;
    let mut secrets = Secrets::default();
    assert_eq!(secrets.renew(&wanted(1), now_s).len(), 3);
    let grown = secrets.renew(&wanted(3), now_s + 60);
    assert_eq!(grown, ["broker 1 gets a new certificate", "broker 2 gets a new certificate"]);
    let shrunk = secrets.renew(&wanted(2), now_s + 120);
    assert_eq!(shrunk, ["broker 2 loses its certificate"]);
    assert!(!secrets.brokers.contains_key("broker-2.key"));

    let asked = Wanted { authority_since_s: now_s + 180, ..wanted(2) };
    let mut at_s = now_s + 180;
    let mut steps = Vec::new();
    for _ in 0..10 {
        steps.extend(secrets.renew(&asked, at_s).into_iter().filter(|c| c.contains("authority")));
        at_s += PROPAGATION_S;
    }
    assert_eq!(steps.len(), 3, "one rotation, and no more: {steps:?}");
}

#[test]
fn whatever_is_lost_or_spoilt_is_made_anew() {
    let (wanted, now_s) = (wanted(BROKERS), 1_800_000_000);
    let mut whole = Secrets::default();
    whole.renew(&wanted, now_s);
    let at_s = now_s + 60;
    let files = |secrets: &Secrets| -> Vec<String> {
        secrets.private.keys().chain(secrets.brokers.keys()).cloned().collect()
    };
    for name in files(&whole) {
        for spoilt in [None, Some(Vec::new()), Some(b"-----BEGIN CERTIFICATE-----".to_vec())] {
            let mut secrets = whole.clone();
            for files in [&mut secrets.private, &mut secrets.brokers] {
                if let Some(file) = files.get_mut(&name) {
                    match &spoilt {
                        Some(bytes) => file.clone_from(bytes),
                        None => drop(files.remove(&name)),
                    }
                }
            }
            let changes = secrets.renew(&wanted, at_s);
            assert!(!changes.is_empty(), "{name} {spoilt:?}");
            let after = secrets.bundle();
            for role in holders(&wanted) {
                tls(&after, role);
            }
            let kept = name.starts_with("authority.");
            assert_eq!(kept, !after.previous.is_empty(), "{name}: who was trusted stays so");
        }
    }
}

#[test]
fn a_write_that_was_cut_short_is_made_good_before_the_next_step() {
    let (wanted, now_s) = (wanted(BROKERS), 1_800_000_000);
    let asked = Wanted { authority_since_s: now_s + 1, ..wanted.clone() };
    let mut secrets = Secrets::default();
    secrets.renew(&wanted, now_s);
    // The brokers' Secret was not written, and nobody came back for long.
    let away = all(&wanted, &Use::Away);
    let prepared = renew(&secrets.bundle(), &asked, &away, now_s + 1).unwrap().unwrap();
    secrets.private = prepared.bundle.private();
    let late_s = now_s + 100 * PROPAGATION_S;
    let changes = secrets.renew(&asked, late_s);
    assert_eq!(changes, ["the next authority is made, and trusted from now on"]);
    assert!(secrets.renew(&asked, late_s + PROPAGATION_S - 1).is_empty());
    let changes = secrets.renew(&asked, late_s + PROPAGATION_S);
    assert!(changes[0].starts_with("the next authority issues"), "{changes:?}");
}
