//! The order of what one producer sends: it sends a value only once it was told that the one before
//! is stored, so that nothing it sends later may stand before that. A value that was sent twice may
//! be there twice, unless its producer is idempotent.

use holdfast_protocol::{Offset, StreamId};

use super::Known;

impl Known {
    /// That a value stands nowhere before where an earlier one was first acknowledged.
    pub(super) fn judge_order(
        &self,
        stream: StreamId,
        batches: &[(Offset, u64)],
    ) -> Result<(), String> {
        let first = self.first_acknowledged();
        if let Some(pair) = first.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            return Err(format!(
                "{stream:?}: {} was acknowledged at {}, and {} after it at {}: out of order",
                pair[0].0, pair[0].1, pair[1].0, pair[1].1
            ));
        }
        for (offset, value) in batches {
            let earlier = &first[..first.partition_point(|(earlier, _)| earlier < value)];
            if let Some((before, at)) = earlier.last().filter(|(_, at)| at >= offset) {
                return Err(format!(
                    "{stream:?}: {value} is at {offset}, and {before}, which was acknowledged \
                     before it was sent, at {at}: out of order"
                ));
            }
        }
        Ok(())
    }

    /// Each value with the offset at which it was first acknowledged, by value; not those that were
    /// lost, which may have been stored once more when others were.
    fn first_acknowledged(&self) -> Vec<(u64, Offset)> {
        let values = self.acknowledged.iter().filter(|(value, _)| !self.lost.contains(*value));
        values.filter_map(|(value, (offset, _))| Some((*value, (*offset)?))).collect()
    }
}
