//! Another authority for the certificates, on a person's wish: read from an annotation; how far it
//! is, as a condition.

use std::time::Duration;

use holdfast_operator::tls::{Stage, Waits};
use holdfast_transport::Role;
use k8s_openapi::jiff::Timestamp;

use super::validate::Problem;
use crate::conditions::{AUTHORITY_CURRENT, Wanted, cut};
use crate::names::ROTATE_ANNOTATION;

/// Why nothing is done about a wish.
pub(super) const ROTATION_REFUSED: &str = "RotationRefused";
/// The most of a value that is repeated to people, bytes.
const VALUE_MAX: usize = 64;
/// The most holders that are named to people in one list.
const NAMED_MAX: usize = 8;
/// The shortest time to the next look, so that a step that is due now and is not done is not
/// looked at without a pause. Who is waited for then is heard of without looking.
const LOOK_MIN: Duration = Duration::from_secs(5);

/// What a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// An authority made before this moment is replaced, seconds since 1970; 0 for none.
    pub(super) since_s: i64,
    /// Why nothing is done.
    pub(super) refused: Option<Problem>,
    /// When that is looked at again, seconds since 1970.
    pub(super) again_s: Option<i64>,
}

impl Wish {
    /// What the annotation's value asks for.
    pub(super) fn read(value: Option<&str>, now: Timestamp) -> Self {
        let Some(value) = value else { return Self::default() };
        let shown = cut(value, VALUE_MAX);
        match value.parse::<Timestamp>() {
            Ok(since) if since <= now => Self { since_s: since.as_second(), ..Self::default() },
            Ok(since) => {
                let message = format!(
                    "the annotation {ROTATE_ANNOTATION} is {shown}, which is in the future: no \
                     authority is replaced before then; to have it done now, set it to the \
                     present time, or else remove it"
                );
                let again_s = since.as_second().checked_add(1);
                Self { refused: Some(refused(message)), again_s, ..Self::default() }
            }
            Err(_) => {
                let message = format!(
                    "the annotation {ROTATE_ANNOTATION} is {shown:?}, which is no time as of RFC \
                     3339, and no authority is replaced for it: set it to the present time, as \
                     `date -u +%FT%TZ` prints it, or remove it"
                );
                Self { refused: Some(refused(message)), ..Self::default() }
            }
        }
    }
}

fn refused(message: String) -> Problem {
    Problem { reason: ROTATION_REFUSED, message }
}

/// The authority as it was found, or left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) wish: Wish,
    pub(super) stage: Option<Stage>,
    /// Who is waited for before the next step.
    pub(super) waits: Waits,
}

impl Authority {
    /// Whether all is done, or how far it is.
    pub(super) fn condition(&self) -> Wanted {
        let Some(stage) = self.stage else {
            let message = "the certificates are not looked at yet";
            return Wanted::new(AUTHORITY_CURRENT, None, "Starting", message);
        };
        let told = tell(stage, &self.waits);
        if let Some(refused) = &self.wish.refused {
            let message = format!("{}; {told}", refused.message);
            return Wanted::new(AUTHORITY_CURRENT, false, refused.reason, message);
        }
        match stage {
            Stage::Alone { .. } => Wanted::new(AUTHORITY_CURRENT, true, "Current", told),
            Stage::Prepared { .. } | Stage::Promoted { .. } => {
                Wanted::new(AUTHORITY_CURRENT, false, "Rotating", told)
            }
        }
    }

    /// After which time there is something to be done, where that is known.
    pub(super) fn due_in(&self, now_s: i64) -> Option<Duration> {
        let times = [self.stage.and_then(Stage::until_s), self.wish.again_s];
        let left_s = times.into_iter().flatten().min()?.saturating_sub(now_s);
        Some(Duration::from_secs(u64::try_from(left_s).unwrap_or(0)).max(LOOK_MIN))
    }
}

fn tell(stage: Stage, waits: &Waits) -> String {
    match stage {
        Stage::Prepared { made_s, until_s } => format!(
            "the next authority, made at {}, is trusted; it signs all certificates once every \
             broker is known to trust it, and the one before is trusted for one step more{}",
            at(made_s),
            tell_waits(waits, until_s),
        ),
        Stage::Promoted { made_s, until_s } => format!(
            "the authority made at {} signs all certificates; one before it is trusted until \
             every broker is known to use its new certificate{}",
            at(made_s),
            tell_waits(waits, until_s),
        ),
        Stage::Alone { made_s } => format!(
            "the authority made at {} signs all certificates, and no other is trusted",
            at(made_s)
        ),
    }
}

/// Who is waited for, and for how long.
fn tell_waits(waits: &Waits, until_s: i64) -> String {
    let until = at(until_s);
    let away: Vec<Role> = waits.away.iter().chain(&waits.awaited).copied().collect();
    let told = [
        (&waits.behind, "waited for while it uses the certificates from before".to_owned()),
        (&away, format!("not connected: waited for until {until}")),
        (&waits.untold, format!("of a release that does not tell: waited for until {until}")),
    ];
    let told = told.iter().filter(|(roles, _)| !roles.is_empty());
    told.map(|(roles, why)| format!("; {}: {why}", names(roles))).collect()
}

fn names(roles: &[Role]) -> String {
    let named: Vec<String> = roles.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match roles.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}

fn at(second: i64) -> String {
    match Timestamp::from_second(second) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{second} s since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_operator::tls::PROPAGATION_S;
    use holdfast_protocol::BrokerId;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_wish_is_a_time_that_is_past_and_anything_else_changes_nothing() {
        let now = time("2026-11-23T23:00:00.5Z");
        let read = |value| Wish::read(Some(value), now);
        assert_eq!(Wish::read(None, now), Wish::default());
        for past in ["2026-11-23T23:00:00Z", "2026-11-24T01:00:00+02:00"] {
            let expected = Wish { since_s: now.as_second(), ..Wish::default() };
            assert_eq!(read(past), expected, "{past}");
        }
        let long = "x".repeat(4096);
        for bad in ["", "now", "2026-11-23", "2026-11-23T23:00:00", "1795474800", "true", &long] {
            let wish = read(bad);
            let message = wish.refused.expect(bad).message;
            assert_eq!((wish.since_s, wish.again_s), (0, None), "{bad}");
            assert!(message.contains("holdfast.dev/rotate-authority is \""), "{message}");
            assert!(message.contains("date -u +%FT%TZ"), "{message}");
            assert!(message.len() < 400, "{message}");
        }
        let ahead = read("2026-11-23T23:00:09Z");
        assert_eq!((ahead.since_s, ahead.again_s), (0, Some(now.as_second() + 10)));
        assert!(ahead.refused.unwrap().message.contains("in the future"));
    }

    #[test]
    fn the_condition_says_which_authority_there_is_and_who_is_waited_for() {
        let made_s = time("2026-11-23T23:00:00Z").as_second();
        let of = |stage, wish| Authority { wish, stage, ..Authority::default() };
        let until_s = made_s + PROPAGATION_S;
        let prepared = Stage::Prepared { made_s, until_s };
        let promoted = Stage::Promoted { made_s, until_s: until_s + PROPAGATION_S };
        let table = [
            (None, None, "Starting", ""),
            (Some(prepared), Some(false), "Rotating", "once every broker is known to trust it"),
            (Some(promoted), Some(false), "Rotating", "one before it is trusted until every"),
            (Some(Stage::Alone { made_s }), Some(true), "Current", "no other is trusted"),
        ];
        for (stage, holds, reason, words) in table {
            let told = of(stage, Wish::default()).condition();
            assert_eq!((told.holds, told.reason), (holds, reason), "{told:?}");
            assert!(told.message.contains(words), "{told:?}");
            let bad = of(stage, Wish::read(Some("now"), time("2026-11-23T23:00:00Z"))).condition();
            let reason = if stage.is_some() { ROTATION_REFUSED } else { "Starting" };
            assert_eq!((bad.holds, bad.reason), (holds.map(|_| false), reason), "{bad:?}");
            assert!(bad.message.contains(words), "what is under way is told too: {bad:?}");
        }
        let brokers =
            |ids: std::ops::Range<u32>| ids.map(|id| Role::Broker(BrokerId(id))).collect();
        let waits = Waits {
            behind: brokers(0..2),
            awaited: brokers(2..3),
            away: brokers(3..4),
            untold: brokers(4..14),
        };
        let told = Authority { waits, ..of(Some(prepared), Wish::default()) }.condition().message;
        for words in [
            "; broker 0, broker 1: waited for while",
            "; broker 3, broker 2: not connected: waited for until 2026-11-23T23:10:00Z",
            "broker 11 and 2 more: of a release",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let ahead = Wish { again_s: Some(made_s + 9), ..Wish::default() };
        assert_eq!(of(Some(prepared), ahead).due_in(made_s), Some(Duration::from_secs(9)));
        let due = |stage, now_s| of(Some(stage), Wish::default()).due_in(now_s);
        assert_eq!(due(prepared, made_s), Some(Duration::from_secs(600)));
        assert_eq!(due(prepared, until_s + 5), Some(LOOK_MIN));
        assert_eq!(due(Stage::Alone { made_s }, made_s), None);
    }
}
