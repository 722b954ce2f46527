//! Possible losses, and whether a person has acknowledged them.
//!
//! A loss is named by the epoch of its unclean election, in an annotation on the Shard. Nothing
//! else follows from an acknowledgement than that the conditions and the metric are quiet: the
//! record of what happened stays. A later loss has another epoch, and the store takes away what a
//! person wrote before it when it writes it down, so that nothing acknowledges a loss in advance.

use holdfast_protocol::{Epoch, LossRange};

use crate::conditions::{POSSIBLE_LOSS, UNCLEAN_ELECTION, Wanted, cut};
use crate::names::{ACKNOWLEDGE_ANNOTATION, Key};

/// Why the condition is false: a person has acknowledged the loss.
pub(crate) const ACKNOWLEDGED: &str = "Acknowledged";
/// Why nothing follows from an annotation.
pub(crate) const ACKNOWLEDGEMENT_REFUSED: &str = "AcknowledgementRefused";
/// The most of an annotation's value that is repeated to people, bytes.
const VALUE_MAX: usize = 64;
/// The most shards that the condition of a Topic names, so that no command in it is cut.
const SHARDS_MAX: usize = 2;
/// The most partitions of a shard that the condition of a Topic names.
const PARTITIONS_MAX: usize = 8;

/// What the newest unclean election of a shard may have lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The Shard.
    pub(crate) shard: Key,
    /// The epoch of the election.
    pub(crate) epoch: Epoch,
    /// Positions of the shard's log.
    pub(crate) range: LossRange,
}

/// Where a loss stands with people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has acknowledged it.
    Open,
    /// The annotation is of a loss before it.
    Later(Epoch),
    /// The annotation names nothing that there is.
    Refused(String),
    /// A person has acknowledged this very loss.
    Acknowledged,
}

impl Standing {
    /// Where the loss of `epoch`, if there is one, stands by the value of the annotation.
    pub(crate) fn of(epoch: Option<Epoch>, value: Option<&str>) -> Self {
        let Some(value) = value else { return Self::Open };
        match (number(value), epoch) {
            (None, _) => {
                let shown = cut(value, VALUE_MAX);
                Self::Refused(format!(
                    "the annotation {ACKNOWLEDGE_ANNOTATION} is {shown:?}, which is no epoch, and \
                     acknowledges nothing"
                ))
            }
            (Some(named), Some(epoch)) if named == epoch => Self::Acknowledged,
            (Some(named), Some(epoch)) if named < epoch => Self::Later(named),
            (Some(named), Some(_) | None) => Self::Refused(format!(
                "the annotation {ACKNOWLEDGE_ANNOTATION} is {named}, and there was no loss in that \
                 epoch: it acknowledges nothing"
            )),
        }
    }

    /// Whether a person has still to look at it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Open | Self::Later(_) | Self::Refused(_) => true,
            Self::Acknowledged => false,
        }
    }
}

/// An epoch as it is shown to people, and nothing that merely could be read as one.
fn number(value: &str) -> Option<Epoch> {
    let epoch: u32 = value.parse().ok()?;
    (epoch.to_string() == value).then_some(Epoch(epoch))
}

impl Loss {
    /// The command that acknowledges it.
    fn command(&self) -> String {
        format!("{}={}", annotate(&self.shard), self.epoch)
    }

    fn words(&self) -> String {
        let LossRange { from, to } = self.range;
        format!("since epoch {}, positions {from} to {to}", self.epoch)
    }
}

fn annotate(Key { namespace, name }: &Key) -> String {
    format!("kubectl annotate --overwrite -n {namespace} shard {name} {ACKNOWLEDGE_ANNOTATION}")
}

/// The condition of a Shard, by its loss and the value of its annotation.
pub(crate) fn of_shard(shard: &Key, loss: Option<&Loss>, value: Option<&str>) -> Option<Wanted> {
    let standing = Standing::of(loss.map(|loss| loss.epoch), value);
    let Some(loss) = loss else {
        let Standing::Refused(why) = standing else { return None };
        let message = format!("{why}; nothing is lost here, so remove it: {}-", annotate(shard));
        return Some(Wanted::new(POSSIBLE_LOSS, false, ACKNOWLEDGEMENT_REFUSED, message));
    };
    let open = format!(
        "nobody who could lead had all that was acknowledged: {} may be lost, and what was \
         committed after that was told; once that is dealt with, acknowledge it: {}",
        loss.words(),
        loss.command()
    );
    let wanted = |reason, message| Wanted::new(POSSIBLE_LOSS, true, reason, message);
    Some(match standing {
        Standing::Open => wanted(UNCLEAN_ELECTION, open),
        Standing::Later(named) => {
            let earlier = format!(
                "the annotation {ACKNOWLEDGE_ANNOTATION} is {named}, and this is a later loss"
            );
            wanted(UNCLEAN_ELECTION, format!("{earlier}: {open}"))
        }
        Standing::Refused(why) => wanted(ACKNOWLEDGEMENT_REFUSED, format!("{why}; {open}")),
        Standing::Acknowledged => {
            let message = format!(
                "a person has acknowledged what may be lost {}, and what was committed after that \
                 was told; a later loss is told again",
                loss.words()
            );
            Wanted::new(POSSIBLE_LOSS, false, ACKNOWLEDGED, message)
        }
    })
}

/// A loss of one of the shards that hold a Topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) loss: Loss,
    pub(crate) standing: Standing,
    /// The partitions that the shard holds.
    pub(crate) partitions: Vec<u32>,
}

impl Hit {
    fn words(&self) -> String {
        let named = self.partitions.iter().take(PARTITIONS_MAX).map(u32::to_string);
        let named: Vec<String> = named.collect();
        let more = if self.partitions.len() > PARTITIONS_MAX { ",..." } else { "" };
        let (of, shard) = (named.join(","), &self.loss.shard.name);
        format!("partitions {of}{more} (shard {shard}) {}", self.loss.words())
    }
}

/// The condition of a Topic, by the losses of its shards.
pub(crate) fn of_topic(hits: &[Hit]) -> Option<Wanted> {
    let (open, done): (Vec<&Hit>, Vec<&Hit>) = hits.iter().partition(|hit| hit.standing.is_open());
    if open.is_empty() {
        let message = format!(
            "a person has acknowledged what may be lost: {}, and what was committed after that was \
             told; a later loss is told again",
            listed(&done)
        );
        return (!done.is_empty())
            .then(|| Wanted::new(POSSIBLE_LOSS, false, ACKNOWLEDGED, message));
    }
    let commands: Vec<String> =
        open.iter().take(SHARDS_MAX).map(|hit| hit.loss.command()).collect();
    let message = format!(
        "messages of before an unclean election may be lost: {}, and what was committed after that \
         was told; once that is dealt with, acknowledge it: {}",
        listed(&open),
        commands.join("; ")
    );
    Some(Wanted::new(POSSIBLE_LOSS, true, UNCLEAN_ELECTION, message))
}

fn listed(hits: &[&Hit]) -> String {
    let named: Vec<String> = hits.iter().take(SHARDS_MAX).map(|hit| hit.words()).collect();
    let named = named.join("; ");
    match hits.len().saturating_sub(SHARDS_MAX) {
        0 => named,
        more => format!("{named}; and of {more} more shards, whose conditions tell it"),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Position;

    use super::*;

    fn loss(shard: u32, epoch: u32) -> Loss {
        Loss {
            shard: Key::new("shop", format!("orders-{shard}")),
            epoch: Epoch(epoch),
            range: LossRange { from: Position(70), to: Position(90) },
        }
    }

    fn told(loss: Option<&Loss>, value: Option<&str>) -> Option<Wanted> {
        of_shard(&Key::new("shop", "orders-3"), loss, value)
    }

    #[test]
    fn only_the_epoch_of_the_loss_itself_acknowledges_it() {
        let seen = loss(3, 17);
        let command =
            "kubectl annotate --overwrite -n shop shard orders-3 holdfast.dev/acknowledge-loss=17";
        let long = "\u{1}".repeat(4096);
        for (value, reason, words) in [
            (None, UNCLEAN_ELECTION, "since epoch 17, positions 70 to 90 may be lost"),
            (Some("5"), UNCLEAN_ELECTION, "is 5, and this is a later loss"),
            (Some("18"), ACKNOWLEDGEMENT_REFUSED, "is 18, and there was no loss in that epoch"),
            (Some("true"), ACKNOWLEDGEMENT_REFUSED, "is \"true\", which is no epoch"),
            (Some(""), ACKNOWLEDGEMENT_REFUSED, "is \"\", which is no epoch"),
            (Some("+17"), ACKNOWLEDGEMENT_REFUSED, "is \"+17\", which is no epoch"),
            (Some("017"), ACKNOWLEDGEMENT_REFUSED, "is \"017\", which is no epoch"),
            (Some(" 17"), ACKNOWLEDGEMENT_REFUSED, "is \" 17\", which is no epoch"),
            (Some("17-90"), ACKNOWLEDGEMENT_REFUSED, "is \"17-90\", which is no epoch"),
            (Some("-1"), ACKNOWLEDGEMENT_REFUSED, "is \"-1\", which is no epoch"),
            (Some("99999999999"), ACKNOWLEDGEMENT_REFUSED, "which is no epoch"),
            (Some(long.as_str()), ACKNOWLEDGEMENT_REFUSED, "which is no epoch"),
        ] {
            let wanted = told(Some(&seen), value).unwrap();
            assert_eq!((wanted.kind, wanted.holds), ("PossibleLoss", Some(true)), "{value:?}");
            assert_eq!(wanted.reason, reason, "{value:?}");
            assert!(wanted.message.contains(words), "{}", wanted.message);
            assert!(wanted.message.ends_with(command), "to be copied: {}", wanted.message);
            assert!(wanted.message.len() < 1024, "it is cut: {}", wanted.message);
        }
        let done = told(Some(&seen), Some("17")).unwrap();
        assert_eq!((done.holds, done.reason), (Some(false), ACKNOWLEDGED));
        assert!(done.message.contains("since epoch 17, positions 70 to 90"), "{}", done.message);
        // The same annotation, after the next unclean election.
        let again = told(Some(&loss(3, 81)), Some("17")).unwrap();
        assert_eq!((again.holds, again.reason), (Some(true), UNCLEAN_ELECTION));
        assert!(again.message.ends_with("holdfast.dev/acknowledge-loss=81"), "{}", again.message);
    }

    #[test]
    fn where_nothing_is_lost_there_is_no_condition_but_of_a_mistake() {
        assert_eq!(told(None, None), None);
        for value in ["17", "nonsense"] {
            let wanted = told(None, Some(value)).unwrap();
            assert_eq!((wanted.holds, wanted.reason), (Some(false), ACKNOWLEDGEMENT_REFUSED));
            let remove = "orders-3 holdfast.dev/acknowledge-loss-";
            assert!(wanted.message.ends_with(remove), "{}", wanted.message);
        }
    }

    fn hit(shard: u32, epoch: u32, value: Option<&str>, partitions: &[u32]) -> Hit {
        let loss = loss(shard, epoch);
        let standing = Standing::of(Some(loss.epoch), value);
        Hit { loss, standing, partitions: partitions.to_vec() }
    }

    #[test]
    fn a_topic_tells_of_what_is_not_acknowledged_until_all_is() {
        assert_eq!(of_topic(&[]), None);
        let one = hit(2, 4, Some("4"), &[0, 2]);
        let other = |value| hit(5, 7, value, &[3]);
        for value in [None, Some("4"), Some("8"), Some("yes")] {
            let wanted = of_topic(&[one.clone(), other(value)]).unwrap();
            assert_eq!((wanted.holds, wanted.reason), (Some(true), UNCLEAN_ELECTION), "{value:?}");
            let words = "partitions 3 (shard orders-5) since epoch 7, positions 70 to 90";
            assert!(wanted.message.contains(words), "{}", wanted.message);
            assert!(!wanted.message.contains("orders-2"), "{}", wanted.message);
            let command = "-n shop shard orders-5 holdfast.dev/acknowledge-loss=7";
            assert!(wanted.message.ends_with(command), "{}", wanted.message);
        }
        let wanted = of_topic(&[one, other(Some("7"))]).unwrap();
        assert_eq!((wanted.holds, wanted.reason), (Some(false), ACKNOWLEDGED));
        for words in ["partitions 0,2 (shard orders-2) since epoch 4", "(shard orders-5)"] {
            assert!(wanted.message.contains(words), "{}", wanted.message);
        }
    }

    #[test]
    fn no_command_is_cut_however_many_shards_are_hit() {
        let partitions: Vec<u32> = (9_900..9_999).collect();
        let far = 9_007_199_254_740_991;
        let hits = (0..256).map(|shard| {
            let name = format!("{}-{shard}", "p".repeat(40));
            let shard = Key::new("n".repeat(63), name);
            let range = LossRange { from: Position(far), to: Position(far) };
            let loss = Loss { shard, epoch: Epoch(i32::MAX as u32), range };
            Hit { loss, standing: Standing::Open, partitions: partitions.clone() }
        });
        let hits: Vec<Hit> = hits.collect();
        let wanted = of_topic(&hits).unwrap();
        assert!(wanted.message.contains("and of 254 more shards"), "{}", wanted.message);
        assert!(wanted.message.len() < 1024, "{} bytes", wanted.message.len());
        assert_eq!(wanted.message.matches("acknowledge-loss=2147483647").count(), 2);
        let done = hits.into_iter().map(|hit| Hit { standing: Standing::Acknowledged, ..hit });
        let done = of_topic(&done.collect::<Vec<_>>()).unwrap();
        assert!(done.holds == Some(false) && done.message.len() < 1024, "{}", done.message);
    }
}
