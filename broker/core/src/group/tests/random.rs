//! Random requests, ticks, outcomes and failovers against the invariants.

use std::collections::BTreeMap;

use holdfast_protocol::group::{
    Answer, CommitOffset, CommitOffsets, DeleteGroups, Describe, DropOffsets, DropTopic, Error,
    FetchOffsets, Generation, Heartbeat, Join, Leave, Leaver, List, Request, Sync,
};
use proptest::prelude::*;

use super::driver::{Driver, join_static, joining, protocols};
use crate::group::state::{Group, Phase};
use crate::group::{KeepError, Token, kept};

/// Which group, member and so on a step is about: picked from those that there are.
#[derive(Clone, Debug)]
struct Pick {
    group: u8,
    member: u8,
    instance: Option<u8>,
    generation: i32,
    protocols: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Join(Pick, bool),
    Sync(Pick),
    Heartbeat(Pick),
    Leave(Vec<Pick>),
    Commit(Pick),
    Drop(Pick),
    Delete(Pick),
    Look(Pick),
    Pass(u64),
    Resolve(Result<(), KeepError>),
    FailOver,
}

fn pick() -> impl Strategy<Value = Pick> {
    let instance = proptest::option::weighted(0.3, 0..3u8);
    (0..2u8, 0..12u8, instance, 0..6i32, 0..4u8).prop_map(
        |(group, member, instance, generation, protocols)| Pick {
            group,
            member,
            instance,
            generation,
            protocols,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        8 => Just(Ok(())),
        1 => Just(Err(KeepError::NotKept)),
        1 => Just(Err(KeepError::LeadershipLost)),
    ];
    let passing = prop_oneof![Just(100), Just(500), Just(3_000), Just(12_000), Just(700_000)];
    prop_oneof![
        12 => (pick(), any::<bool>()).prop_map(|(pick, known)| Step::Join(pick, known)),
        8 => pick().prop_map(Step::Sync),
        4 => pick().prop_map(Step::Heartbeat),
        2 => proptest::collection::vec(pick(), 0..3).prop_map(Step::Leave),
        4 => pick().prop_map(Step::Commit),
        1 => pick().prop_map(Step::Drop),
        1 => pick().prop_map(Step::Delete),
        1 => pick().prop_map(Step::Look),
        8 => passing.prop_map(Step::Pass),
        8 => outcome.prop_map(Step::Resolve),
        1 => Just(Step::FailOver),
    ]
}

/// The driver, and what clients have learnt.
struct World {
    driver: Driver,
    epoch: u32,
    tokens: Vec<Token>,
    /// Member ids by group, as told.
    members: [Vec<String>; 2],
    generations: BTreeMap<String, Generation>,
}

impl World {
    fn new() -> Self {
        let mut driver = Driver::new();
        driver.holds_changes = true;
        Self {
            driver,
            epoch: 1,
            tokens: Vec::new(),
            members: [vec![String::new()], vec![String::new()]],
            generations: BTreeMap::new(),
        }
    }

    fn member(&self, pick: &Pick) -> String {
        let known = &self.members[usize::from(pick.group)];
        // The newest are the most interesting.
        let back = usize::from(pick.member) % known.len();
        known[known.len() - 1 - back].clone()
    }

    /// Mostly the present one.
    fn generation(&self, pick: &Pick) -> Generation {
        let groups = &self.driver.coordinator.groups;
        let present = groups.get(&name(pick)).map_or(0, |group| group.generation.0);
        Generation(present + (pick.generation - 4).max(0) * 2 - i32::from(pick.generation == 3))
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => self.driver.advance(*ms),
            Step::Resolve(result) => self.driver.resolve_one(*result),
            Step::FailOver => {
                self.epoch += 1;
                self.driver.fail_over(self.epoch);
                self.generations.clear();
            }
            Step::Join(..)
            | Step::Sync(_)
            | Step::Heartbeat(_)
            | Step::Leave(_)
            | Step::Commit(_)
            | Step::Drop(_)
            | Step::Delete(_)
            | Step::Look(_) => {
                for request in self.requests(step) {
                    let token = self.driver.send(request);
                    self.tokens.push(token);
                }
            }
        }
        self.learn();
        self.check();
    }

    fn requests(&self, step: &Step) -> Vec<Request> {
        match step {
            Step::Join(pick, known) => vec![Request::Join(self.join(pick, *known))],
            Step::Sync(pick) => vec![Request::Sync(self.sync(pick))],
            Step::Heartbeat(pick) => vec![Request::Heartbeat(Heartbeat {
                group: name(pick),
                generation: self.generation(pick),
                member: self.member(pick),
                instance: instance(pick),
            })],
            Step::Leave(picks) => picks
                .first()
                .map(|first| {
                    let members = picks.iter().map(|pick| Leaver {
                        member: self.member(pick),
                        instance: instance(pick),
                        reason: None,
                    });
                    Request::Leave(Leave { group: name(first), members: members.collect() })
                })
                .into_iter()
                .collect(),
            Step::Commit(pick) => vec![Request::CommitOffsets(CommitOffsets {
                group: name(pick),
                generation: if pick.protocols == 0 {
                    Generation::NONE
                } else {
                    self.generation(pick)
                },
                member: self.member(pick),
                instance: instance(pick),
                offsets: vec![CommitOffset::default()],
            })],
            Step::Drop(pick) => vec![Request::DropOffsets(DropOffsets {
                group: name(pick),
                topics: vec![DropTopic {
                    name: "others".to_owned(),
                    streams: vec![Default::default()],
                }],
            })],
            Step::Delete(pick) => vec![Request::DeleteGroups(DeleteGroups {
                groups: vec![name(pick), name(pick), "g0".to_owned()],
            })],
            Step::Look(pick) => vec![
                Request::Describe(Describe { groups: vec![name(pick)] }),
                Request::List(List::default()),
                Request::FetchOffsets(FetchOffsets::default()),
            ],
            Step::Pass(_) | Step::Resolve(_) | Step::FailOver => Vec::new(),
        }
    }

    fn join(&self, pick: &Pick, known: bool) -> Join {
        let names = [&["range"][..], &["range", "b"], &["b", "range"], &["b"]];
        let member = if pick.member > 8 { String::new() } else { self.member(pick) };
        let base = match &instance(pick) {
            Some(instance) => join_static(&member, instance),
            None => joining(&member),
        };
        Join {
            group: name(pick),
            protocols: protocols(names[usize::from(pick.protocols)]),
            require_known_member_id: known,
            ..base
        }
    }

    fn sync(&self, pick: &Pick) -> Sync {
        // Mostly the leader, or nothing would ever be stable.
        let groups = &self.driver.coordinator.groups;
        let leader = groups.get(&name(pick)).and_then(|group| group.leader.clone());
        let member = self.member(pick);
        Sync {
            group: name(pick),
            generation: self.generation(pick),
            member: leader.filter(|_| pick.member > 4).unwrap_or(member),
            assignments: vec![(self.member(pick), "mine".into())],
            ..Sync::default()
        }
    }

    /// Clients read their answers.
    fn learn(&mut self) {
        let driver = &mut self.driver;
        let members = &mut self.members;
        self.tokens.retain(|token| {
            let Some(answer) = driver.answer(*token) else {
                return true;
            };
            match answer {
                Ok(Answer::Join(joined)) => {
                    let is_leader = joined.leader == joined.member;
                    assert!(is_leader || joined.members.is_empty());
                    members.iter_mut().for_each(|known| known.push(joined.member.clone()));
                }
                Err(Error::MemberIdRequired { member }) => {
                    members.iter_mut().for_each(|known| known.push(member.clone()));
                }
                Ok(_) | Err(_) => {}
            }
            false
        });
    }

    fn check(&mut self) {
        let coordinator = &self.driver.coordinator;
        self.generations.retain(|name, _| coordinator.groups.contains_key(name));
        for (name, group) in &coordinator.groups {
            check_group(group);
            let before = self.generations.insert(name.clone(), group.generation);
            assert!(before.is_none_or(|before| before <= group.generation));
            let scheduled = group.scheduled_ms;
            assert!(
                group.due_ms().is_none_or(|due| scheduled.is_some_and(|at| at <= due)),
                "the coordinator would come too late: {group:?}"
            );
        }
        let scheduled =
            coordinator.groups.values().filter(|group| group.scheduled_ms.is_some()).count();
        assert_eq!(coordinator.schedule.len(), scheduled);
    }
}

fn name(pick: &Pick) -> String {
    format!("g{}", pick.group)
}

fn instance(pick: &Pick) -> Option<String> {
    pick.instance.map(|instance| format!("i{instance}"))
}

fn check_group(group: &Group) {
    let members = &group.members;
    assert_eq!(group.leader.is_some(), !members.is_empty(), "{group:?}");
    if let Some(leader) = &group.leader {
        assert!(members.contains_key(leader), "{group:?}");
    }
    let instances =
        members.iter().filter_map(|(id, member)| Some((member.instance.clone()?, id.clone())));
    assert_eq!(group.instances, instances.collect::<BTreeMap<_, _>>());
    assert!(group.pending.keys().all(|id| !members.contains_key(id)));
    match &group.phase {
        Phase::Empty { .. } | Phase::Dead => assert!(members.is_empty(), "{group:?}"),
        Phase::Preparing { .. } => {
            assert!(members.values().all(|member| member.sync.is_none()));
        }
        Phase::Completing { .. } | Phase::Stable { .. } => {
            let protocol = group.protocol.as_deref().unwrap();
            assert!(members.values().all(|member| member.knows(protocol)));
            assert!(!members.is_empty());
        }
    }
    if matches!(group.phase, Phase::Stable { .. }) {
        assert!(members.values().all(|member| member.sync.is_none()));
        let state = kept::encode(group, None);
        let read = kept::decode(&group.name, &state, 0).unwrap();
        assert_eq!(kept::encode(&read, None), state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn invariants_hold_whatever_comes(
        steps in proptest::collection::vec(step(), 1..150),
        ends_by_resigning in any::<bool>(),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        if ends_by_resigning {
            world.driver.fail_over(world.epoch + 1);
        } else {
            // With the log at hand and time enough, everyone is answered, and everything that is
            // of no use is gone.
            world.driver.holds_changes = false;
            world.driver.resolve(Ok(()));
            world.driver.advance(3_600_000);
            world.check();
            for (name, group) in &world.driver.coordinator.groups {
                prop_assert!(world.driver.with_offsets.contains(name), "{:?}", group);
                prop_assert!(group.members.is_empty() && group.pending.is_empty());
            }
        }
        prop_assert_eq!(world.driver.unanswered(), 0);
        world.learn();
        prop_assert_eq!(world.tokens.len(), 0);
    }

    #[test]
    fn the_same_steps_give_the_same_run(steps in proptest::collection::vec(step(), 1..60)) {
        let run = || {
            let mut world = World::new();
            steps.iter().for_each(|step| world.run(step));
            (world.members, world.driver.kept)
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn no_kept_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..80)) {
        let _ = kept::decode("g", &bytes, 0);
        bytes[0] = 1;
        let _ = kept::decode("g", &bytes, 0);
    }
}
