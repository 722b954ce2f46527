//! The topics in a consumer's metadata (Kafka's `ConsumerProtocolSubscription`).

use std::collections::BTreeSet;

/// The protocol type whose metadata is a subscription.
pub(super) const CONSUMER: &str = "consumer";

/// Adds the topics of one member's `metadata` to `topics`; `None` where it is no subscription.
///
/// Every version begins alike: a version (i16), the number of topics (i32), and for each its
/// length (i16) and name. What follows is not needed.
pub(super) fn read_topics(metadata: &[u8], topics: &mut BTreeSet<String>) -> Option<()> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    for _ in 0..count.max(0) {
        let length = i16::from_be_bytes(take(&mut rest)?);
        let (name, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        topics.insert(str::from_utf8(name).ok()?.to_owned());
        rest = after;
    }
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topics_of(metadata: &[u8]) -> Option<Vec<String>> {
        let mut topics = BTreeSet::new();
        read_topics(metadata, &mut topics)?;
        Some(topics.into_iter().collect())
    }

    #[test]
    fn topics_are_read_whatever_follows() {
        let metadata =
            b"\x00\x01\x00\x00\x00\x02\x00\x01b\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00";
        assert_eq!(topics_of(metadata), Some(vec!["a".into(), "b".into()]));
        assert_eq!(topics_of(b"\x00\x00\x00\x00\x00\x00"), Some(vec![]));
        assert_eq!(topics_of(b"\x00\x00\x00\x00\x00\x01"), None);
        assert_eq!(topics_of(b"\xff\xff\x00\x00\x00\x00"), None);
        assert_eq!(topics_of(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = topics_of(&bytes);
        }
    }
}
