//! A step waits for who has not come along with the one before, and for nobody else.

use super::*;

const NOW_S: i64 = 1_800_000_000;
/// Later than anyone is waited for who says nothing.
const LATE_S: i64 = NOW_S + 100 * PROPAGATION_S;
const LAGGING: Role = Role::Broker(BrokerId(1));

/// Everyone says that it uses what `bundle` has for it.
fn told(bundle: &Bundle, wanted: &Wanted) -> Uses {
    let says = |role| Use::Told(tls(bundle, role).in_use());
    holders(wanted).map(|role| (role, says(role))).collect()
}

/// A rotation that was asked for just now, after its first step.
fn begun() -> (Wanted, Bundle, Secrets) {
    let asked = Wanted { authority_since_s: NOW_S, ..wanted(BROKERS) };
    let mut secrets = Secrets::default();
    secrets.renew(&wanted(BROKERS), NOW_S - 60);
    let old = secrets.bundle();
    let changes = secrets.renew_by(&asked, &told(&old, &asked), NOW_S);
    assert_eq!(changes, ["the next authority is made, and trusted from now on"]);
    (asked, old, secrets)
}

/// The same, after the second step.
fn promoted() -> (Wanted, Bundle, Secrets) {
    let (asked, _, mut secrets) = begun();
    let prepared = secrets.bundle();
    let changes = secrets.renew_by(&asked, &told(&prepared, &asked), NOW_S + 1);
    assert!(changes[0].starts_with("the next authority issues"), "{changes:?}");
    assert_eq!(changes.len(), 4, "{changes:?}");
    (asked, prepared, secrets)
}

#[test]
fn a_step_is_taken_as_soon_as_all_have_come_along_with_the_one_before() {
    let (asked, prepared, mut secrets) = promoted();
    // The trusted authorities are the same as before, and the certificates are not.
    let before = told(&prepared, &asked);
    assert!(secrets.renew_by(&asked, &before, LATE_S).is_empty());
    let now = told(&secrets.bundle(), &asked);
    assert_eq!(secrets.bundle().waits(&asked, &now), Waits::default());
    let changes = secrets.renew_by(&asked, &now, NOW_S + 2);
    assert_eq!(changes, ["the old authority is trusted no more"]);
    assert_eq!(secrets.bundle().stage(), Some(Stage::Alone { made_s: NOW_S }));
    assert!(secrets.renew_by(&asked, &told(&secrets.bundle(), &asked), LATE_S).is_empty());
}

#[test]
fn one_that_is_behind_is_waited_for_and_named() {
    let (asked, old, secrets) = begun();
    let (_, prepared, later) = promoted();
    for (before, mut secrets) in [(old, secrets), (prepared, later)] {
        for lagging in holders(&asked) {
            let mut uses = told(&secrets.bundle(), &asked);
            uses.insert(lagging, Use::Told(tls(&before, lagging).in_use()));
            assert!(secrets.renew_by(&asked, &uses, LATE_S).is_empty(), "{lagging}");
            let expected = Waits { behind: vec![lagging], ..Waits::default() };
            assert_eq!(secrets.bundle().waits(&asked, &uses), expected);
        }
        let uses = told(&secrets.bundle(), &asked);
        assert!(!secrets.renew_by(&asked, &uses, LATE_S).is_empty());
    }
}

#[test]
fn one_that_says_nothing_is_given_time_and_one_that_may_say_it_is_asked_first() {
    let steps = [begun(), promoted()];
    for (known, waits) in [
        (Use::Away, Waits { away: vec![LAGGING], ..Waits::default() }),
        (Use::Untold, Waits { untold: vec![LAGGING], ..Waits::default() }),
        (Use::Awaited, Waits { awaited: vec![LAGGING], ..Waits::default() }),
    ] {
        for (asked, _, secrets) in &steps {
            let (mut secrets, bundle) = (secrets.clone(), secrets.bundle());
            let mut uses = told(&bundle, asked);
            uses.insert(LAGGING, known.clone());
            assert_eq!(bundle.waits(asked, &uses), waits);
            let until_s = bundle.stage().and_then(Stage::until_s).unwrap();
            assert!(secrets.renew_by(asked, &uses, until_s - 1).is_empty(), "{known:?}");
            let taken = !secrets.renew_by(asked, &uses, until_s).is_empty();
            assert_eq!(taken, known != Use::Awaited, "{known:?}");
        }
    }
}

#[test]
fn an_operator_that_takes_over_knows_nothing_until_it_is_told() {
    for (asked, _, mut secrets) in [begun(), promoted()] {
        // It has read the Secrets, and nobody has a session with it yet.
        assert!(secrets.renew_by(&asked, &Uses::new(), LATE_S).is_empty());
        let mut uses = told(&secrets.bundle(), &asked);
        let last = uses.remove(&LAGGING).unwrap();
        assert!(secrets.renew_by(&asked, &uses, LATE_S).is_empty(), "one has told nothing yet");
        uses.insert(LAGGING, last);
        assert!(!secrets.renew_by(&asked, &uses, LATE_S).is_empty());
    }
}

#[test]
fn certificates_are_renewed_while_a_step_waits() {
    let due_s = NOW_S + LEAF_LIFE_S / 3 * 2;
    let (asked, old, secrets) = begun();
    let (_, prepared, later) = promoted();
    for (before, mut secrets) in [(old, secrets), (prepared, later)] {
        let mut uses = told(&secrets.bundle(), &asked);
        uses.insert(LAGGING, Use::Told(tls(&before, LAGGING).in_use()));
        let stage = secrets.bundle().stage();
        let changes = secrets.renew_by(&asked, &uses, due_s + 1);
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert!(changes.iter().all(|change| change.ends_with("new certificate")), "{changes:?}");
        let same = std::mem::discriminant(&secrets.bundle().stage().unwrap());
        assert_eq!(std::mem::discriminant(&stage.unwrap()), same, "it waits where it was");
        let uses = told(&secrets.bundle(), &asked);
        assert!(!secrets.renew_by(&asked, &uses, due_s + 2).is_empty());
    }
}

#[test]
fn what_is_no_fingerprint_is_nothing_that_was_waited_for() {
    use holdfast_protocol::control;
    let (asked, _, secrets) = begun();
    let bundle = secrets.bundle();
    let in_use = tls(&bundle, LAGGING).in_use();
    let wire = |bytes: &[u8]| bytes.to_vec().into();
    let mut said = control::CertificatesInUse {
        authorities: in_use.authorities.iter().map(|told| wire(&told.0)).collect(),
        leaf: in_use.leaf.map(|leaf| wire(&leaf.0)).unwrap(),
    };
    assert_eq!(crate::convert::in_use(&said), in_use);
    let mut uses = told(&bundle, &asked);
    for bytes in [&[][..], &[0; 31], &[0; 32], &[0; 4096]] {
        said.authorities.iter_mut().for_each(|told| *told = wire(bytes));
        said.leaf = wire(bytes);
        uses.insert(LAGGING, Use::Told(crate::convert::in_use(&said)));
        assert_eq!(bundle.waits(&asked, &uses).behind, [LAGGING], "{bytes:?}");
    }
}
