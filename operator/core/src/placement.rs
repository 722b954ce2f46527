//! Where the replicas of all shards are to be: evenly over the brokers that stay, and as far as
//! that allows where they are.
//!
//! A function of what is there alone, so that every operator comes to the same end. What it gives
//! it gives again: where replicas are as they are wanted, nothing moves; and on the way there, with
//! some shards moved and others not, it leaves those alone that have moved.

use std::collections::{BTreeMap, VecDeque};

use holdfast_protocol::{BrokerId, ShardId};

/// The replicas of each shard, the preferred leader first.
pub(crate) type Placement = BTreeMap<ShardId, Vec<BrokerId>>;

/// Where `replicas` replicas of each shard go on the brokers with the numbers below `brokers`. Of
/// `present` those that come first count, up to as many.
pub(crate) fn wanted(brokers: u32, replicas: u32, present: &Placement) -> Placement {
    let mut plan = Plan::keep(brokers.max(1), replicas, present);
    plan.fill();
    plan.even();
    plan.even_leaders();
    plan.shards
}

/// Where the replicas of `shards` new shards go.
pub(crate) fn initial(brokers: u32, replicas: u32, shards: u32) -> Placement {
    let brokers = brokers.max(1);
    let round = |shard: u32| {
        let brokers = (0..replicas.min(brokers)).map(|i| BrokerId((shard % brokers + i) % brokers));
        (ShardId(shard), brokers.collect())
    };
    wanted(brokers, replicas, &(0..shards).map(round).collect())
}

/// Whether nothing is to be moved, told without making a plan: `false` may be wrong where evenness
/// is impossible.
pub(crate) fn is_even<'a>(
    brokers: u32,
    replicas: u32,
    mut present: impl Iterator<Item = &'a [BrokerId]>,
) -> bool {
    let brokers = brokers.max(1) as usize;
    let mut holds = vec![0_usize; brokers];
    let mut leads = vec![0_usize; brokers];
    let fits = present.all(|of| {
        let stay = of.iter().all(|broker| (broker.0 as usize) < brokers);
        if stay {
            of.iter().for_each(|broker| holds[broker.0 as usize] += 1);
            of.first().into_iter().for_each(|broker| leads[broker.0 as usize] += 1);
        }
        stay && of.len() == brokers.min(replicas as usize)
    });
    let spread =
        |counts: &[usize]| counts.iter().max() <= counts.iter().min().map(|n| n + 1).as_ref();
    fits && spread(&holds) && spread(&leads)
}

struct Plan<'a> {
    replicas: usize,
    present: &'a Placement,
    shards: Placement,
    /// How many replicas each broker has.
    loads: Vec<usize>,
}

impl<'a> Plan<'a> {
    /// What stays where it is.
    fn keep(brokers: u32, replicas: u32, present: &'a Placement) -> Self {
        let replicas = replicas.min(brokers) as usize;
        let mut loads = vec![0; brokers as usize];
        let keep = |(shard, of): (&ShardId, &Vec<BrokerId>)| {
            let mut kept: Vec<BrokerId> = Vec::with_capacity(replicas);
            for broker in of.iter().filter(|broker| broker.0 < brokers) {
                if kept.len() < replicas && !kept.contains(broker) {
                    kept.push(*broker);
                }
            }
            (*shard, kept)
        };
        let shards: Placement = present.iter().map(keep).collect();
        shards.values().flatten().for_each(|broker| loads[broker.0 as usize] += 1);
        Self { replicas, present, shards, loads }
    }

    /// Gives each shard as many replicas as it is to have, on those who have the fewest.
    fn fill(&mut self) {
        let brokers = self.loads.len();
        for (shard, of) in &mut self.shards {
            while of.len() < self.replicas {
                let free = (0..brokers).filter(|id| of.iter().all(|b| b.0 as usize != *id));
                let round = |id: usize| (id + brokers - shard.0 as usize % brokers) % brokers;
                let Some(id) = free.min_by_key(|id| (self.loads[*id], round(*id))) else { break };
                of.push(broker(id));
                self.loads[id] += 1;
            }
        }
    }

    /// Moves replicas from those who have the most to those who have the fewest.
    fn even(&mut self) {
        while let Some((most, fewest)) = widest(&self.loads) {
            let (from, to) = (broker(most), broker(fewest));
            // There is such a shard: `from` has more of them than `to`. One that has to be copied
            // anyway goes first, then one that is not preferred to lead there.
            let movable = self.shards.iter().filter_map(|(shard, of)| {
                let at = of.iter().position(|broker| *broker == from)?;
                let is_new = !self.present.get(shard).is_some_and(|of| of.contains(&from));
                (!of.contains(&to)).then_some((is_new, at, *shard))
            });
            let Some((_, at, shard)) = movable.max_by_key(|(is_new, at, _)| (*is_new, *at)) else {
                return;
            };
            if let Some(of) = self.shards.get_mut(&shard) {
                of.remove(at);
                of.push(to);
            }
            self.loads[most] -= 1;
            self.loads[fewest] += 1;
        }
    }

    /// Makes brokers the preferred leaders of equally many shards, as far as their replicas allow.
    fn even_leaders(&mut self) {
        let mut leads = vec![0_usize; self.loads.len()];
        let firsts = self.shards.values().filter_map(|of| of.first());
        firsts.for_each(|broker| leads[broker.0 as usize] += 1);
        while let Some(path) = self.relief(&leads) {
            let Some(((first, _), (_, last))) =
                path.first().zip(path.last()).map(|(f, l)| (*f, *l))
            else {
                return;
            };
            for (from, to) in path {
                let has = |of: &&mut Vec<BrokerId>| {
                    of.first() == Some(&broker(from)) && of.contains(&broker(to))
                };
                if let Some(of) = self.shards.values_mut().find(has)
                    && let Some(at) = of.iter().position(|b| *b == broker(to))
                {
                    of.swap(0, at);
                }
            }
            leads[first] -= 1;
            leads[last] += 1;
        }
    }

    /// Steps, each from a preferred leader to another replica of the same shard, by which one who is
    /// preferred by many gives a shard to one who is preferred by at least two fewer.
    fn relief(&self, leads: &[usize]) -> Option<Vec<(usize, usize)>> {
        let mut order: Vec<usize> = (0..leads.len()).collect();
        order.sort_by_key(|id| std::cmp::Reverse(leads[*id]));
        let fewest = leads.iter().min().copied()?;
        let loaded = order.into_iter().filter(|id| leads[*id] > fewest + 1);
        loaded.into_iter().find_map(|id| self.path(id, leads))
    }

    fn path(&self, from: usize, leads: &[usize]) -> Option<Vec<(usize, usize)>> {
        let mut came_from: Vec<Option<usize>> = vec![None; leads.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for of in self.shards.values().filter(|of| of.first() == Some(&broker(at))) {
                for next in of.iter().skip(1).map(|broker| broker.0 as usize) {
                    if next == from || came_from[next].is_some() {
                        continue;
                    }
                    came_from[next] = Some(at);
                    if leads[next] + 1 < leads[from] {
                        return Some(steps(from, next, &came_from));
                    }
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// The way from `from` to `to`, in its order.
fn steps(from: usize, to: usize, came_from: &[Option<usize>]) -> Vec<(usize, usize)> {
    let mut path = Vec::new();
    let mut at = to;
    while let Some(before) = came_from[at].filter(|_| at != from) {
        path.push((before, at));
        at = before;
    }
    path.reverse();
    path
}

/// Who has the most and who the fewest, where they differ by more than one.
fn widest(loads: &[usize]) -> Option<(usize, usize)> {
    let most = (0..loads.len()).max_by_key(|id| (loads[*id], std::cmp::Reverse(*id)))?;
    let fewest = (0..loads.len()).min_by_key(|id| (loads[*id], *id))?;
    (loads[most] > loads[fewest] + 1).then_some((most, fewest))
}

/// Numbers of brokers are below 64 and so fit.
fn broker(id: usize) -> BrokerId {
    BrokerId(u32::try_from(id).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(of: &[u32]) -> Vec<BrokerId> {
        of.iter().copied().map(BrokerId).collect()
    }

    fn placement(of: &[&[u32]]) -> Placement {
        (0..).map(ShardId).zip(of.iter().map(|of| ids(of))).collect()
    }

    fn counts(brokers: u32, of: impl Iterator<Item = BrokerId>) -> Vec<usize> {
        let mut counts = vec![0; brokers as usize];
        of.for_each(|broker| counts[broker.0 as usize] += 1);
        counts
    }

    fn spread(counts: &[usize]) -> usize {
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    /// How many replicas have to be copied.
    fn copied(before: &Placement, after: &Placement) -> usize {
        let new = |(shard, of): (&ShardId, &Vec<BrokerId>)| {
            of.iter().filter(|broker| !before[shard].contains(broker)).count()
        };
        after.iter().map(new).sum()
    }

    /// The fewest replicas that have to be copied, whatever goes where.
    fn fewest(brokers: u32, replicas: u32, before: &Placement) -> usize {
        let kept = Plan::keep(brokers, replicas, before);
        let total = kept.shards.len() * kept.replicas;
        let (each, over) = (total / brokers as usize, total % brokers as usize);
        let mut loads = kept.loads;
        loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
        let room =
            |(at, load): (usize, &usize)| (each + usize::from(at < over)).saturating_sub(*load);
        loads.iter().enumerate().map(room).sum()
    }

    #[test]
    fn a_broker_more_gets_its_share_and_one_less_leaves_nothing_behind() {
        let three = placement(&[&[0, 1, 2], &[1, 2, 0], &[2, 0, 1], &[0, 1, 2]]);
        assert_eq!(wanted(3, 3, &three), three);
        let four = wanted(4, 3, &three);
        assert_eq!(counts(4, four.values().flatten().copied()), [3, 3, 3, 3]);
        assert_eq!(copied(&three, &four), 3);
        assert_eq!(counts(4, four.values().map(|of| of[0])), [1, 1, 1, 1]);
        let back = wanted(3, 3, &four);
        assert_eq!(copied(&four, &back), 3);
        // Fewer replicas: those that come first stay.
        assert_eq!(wanted(3, 2, &three)[&ShardId(1)], ids(&[1, 2]));
        // While one moves, the first ones count: what was chosen stays chosen.
        let moving = placement(&[&[0, 1, 3, 2]]);
        assert_eq!(wanted(4, 3, &moving)[&ShardId(0)], ids(&[0, 1, 3]));
        assert_eq!(wanted(3, 3, &moving)[&ShardId(0)], ids(&[0, 1, 2]));
    }

    #[test]
    fn new_shards_are_spread_round_the_brokers() {
        let layout = |brokers, count, shard| initial(brokers, count, 12)[&ShardId(shard)].clone();
        assert_eq!(layout(3, 3, 0), ids(&[0, 1, 2]));
        assert_eq!(layout(3, 3, 4), ids(&[1, 2, 0]));
        assert_eq!(layout(1, 1, 7), ids(&[0]));
        let five = initial(5, 3, 12);
        assert_eq!(spread(&counts(5, five.values().flatten().copied())), 1);
        assert_eq!(spread(&counts(5, five.values().map(|of| of[0]))), 1);
    }

    /// Brokers before, brokers after, replicas before, replicas after, shards with their replicas
    /// anywhere.
    fn change() -> impl Strategy<Value = (u32, u32, Placement)> {
        (1..9u32, 1..9u32, 1..6u32, 1..40usize).prop_flat_map(
            |(before, after, replicas, shards)| {
                let all: Vec<BrokerId> = (0..before).map(BrokerId).collect();
                let held = 1..=before.min(6) as usize;
                let of = held.prop_flat_map(move |count| {
                    proptest::sample::subsequence(all.clone(), count).prop_shuffle()
                });
                let shards = proptest::collection::vec(of, shards);
                let numbered = |of: Vec<_>| (0..).map(ShardId).zip(of).collect();
                (Just(after), Just(replicas.min(after)), shards.prop_map(numbered))
            },
        )
    }

    proptest! {
        #[test]
        fn replicas_are_even_and_few_move((brokers, replicas, before) in change()) {
            let after = wanted(brokers, replicas, &before);
            for of in after.values() {
                prop_assert_eq!(of.len(), replicas as usize);
                prop_assert!(of.iter().all(|broker| broker.0 < brokers));
                prop_assert!((1..of.len()).all(|at| !of[..at].contains(&of[at])));
            }
            prop_assert!(spread(&counts(brokers, after.values().flatten().copied())) <= 1);
            prop_assert_eq!(&wanted(brokers, replicas, &after), &after, "it is what it gives");
            let even = is_even(brokers, replicas, after.values().map(Vec::as_slice));
            let leads = spread(&counts(brokers, after.values().map(|of| of[0])));
            prop_assert_eq!(even, leads <= 1);
            let all = after.len() * replicas as usize;
            let slack = all / 10 + 1;
            prop_assert!(copied(&before, &after) <= fewest(brokers, replicas, &before) + slack);
        }

        /// Where every broker may lead anything, preferred leaders are even too.
        #[test]
        fn leaders_are_even(brokers in 1..9u32, shards in 1..40u32, before in 1..9u32) {
            let replicas = brokers;
            let after = wanted(brokers, replicas, &initial(before, replicas, shards));
            prop_assert!(spread(&counts(brokers, after.values().map(|of| of[0]))) <= 1);
        }

        /// Whatever shards are moved first, and however often the plan is made anew in between.
        #[test]
        fn some_shards_at_a_time_come_to_an_end(
            (brokers, replicas, before) in change(),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut now = before;
            for pick in picks {
                let next = wanted(brokers, replicas, &now);
                let differ: Vec<ShardId> =
                    next.keys().filter(|id| next[id] != now[id]).copied().collect();
                if differ.is_empty() {
                    return Ok(());
                }
                let id = differ[pick.index(differ.len())];
                now.insert(id, next[&id].clone());
            }
            prop_assert!(false, "still moving: {now:?}");
        }
    }
}
