use holdfast_protocol::BrokerId;

use super::*;
use crate::text::{holders, incarnation, record, report, show};

/// The writer of the inventory.
const WRITER: u64 = 9;

#[test]
fn a_newer_or_another_record_shows_that_the_store_went_back() {
    let stored = record("v7 e3 leader 0a isr 0a 1a min 2");
    let knows = |text: &str| {
        let record = record(text);
        Report {
            version: record.version,
            epoch: record.epoch,
            record: Some(record),
            ..report(incarnation('a'))
        }
    };
    for (text, stored, ahead) in [
        ("v7 e3 leader 0a isr 0a 1a min 2", Some(&stored), false),
        ("v6 e3 leader 0a isr 0a 1a min 2", Some(&stored), false),
        ("v8 e3 leader 0a isr 0a 1a min 2", Some(&stored), true),
        ("v7 e3 leader 1a isr 0a 1a min 2", Some(&stored), true),
        ("v6 e4 leader 0a isr 0a 1a min 2", Some(&stored), true),
        ("v1 e1 leader 0a isr 0a 1a min 2", None, true),
        ("v0 e0 leader none min 2", None, false),
    ] {
        assert_eq!(is_ahead(&knows(text), stored), ahead, "{text}");
    }
}

#[test]
fn a_record_is_vouched_for_by_some_of_those_who_would_know_a_newer_one() {
    let three = "v7 e3 leader 0a isr 0a 1a 2a min 2";
    for (of, brokers, vouched) in [
        (three, "0 live a; 1 live a; 2 live a", true),
        (three, "0 dead a; 1 live a; 2 live b", true),
        (three, "0 dead a; 1 dead a; 2 live a", false),
        (three, "0 unsure a; 1 dead a; 2 live a", false),
        // All three have what is committed.
        ("v7 e3 leader 0a isr 0a 1a 2a min 3", "0 dead a; 1 dead a; 2 live a", true),
        // It takes one to commit, so one is enough; that a newer record was lost may go
        // unnoticed then.
        ("v7 e3 leader 0a isr 0a 1a min 1", "0 dead a; 1 live a; 2 dead a", true),
    ] {
        let mut record = record(of);
        record.replicas = vec![BrokerId(0), BrokerId(1), BrokerId(2)];
        let reports = holders(brokers);
        assert_eq!(is_vouched_for(&record, 3, &reports.view()), vouched, "{of} | {brokers}");
    }
}

/// What replicas 0, 1, ... told, and nothing else.
fn inventory<'a>(told: &[&'a ShardRecord]) -> Inventory<'a> {
    let told = told.iter().zip(0..);
    Inventory {
        told: told.map(|(record, id)| Told { broker: BrokerId(id), record }).collect(),
        others: Vec::new(),
        epoch_seen: Epoch(0),
        revision_named: 0,
        writer: WRITER,
        replicas_wanted: 3,
        leaves_dead_only: true,
    }
}

#[test]
fn the_newest_of_an_older_release_is_adopted_at_a_higher_generation() {
    let known = [
        record("v7 e3 leader 0a isr 0a 1a min 2"),
        record("v9 e5 leader 1a isr 1a 2a min 2"),
        // Written by someone who did not know better.
        record("v9 e4 leader 0a isr 0a 1a min 2"),
    ];
    let adopt = |epoch_seen| {
        let inventory = Inventory { epoch_seen, ..inventory(&[&known[0], &known[1], &known[2]]) };
        let Adoption::Record(adopted) = inventory.adopted() else { panic!("none is adopted") };
        assert_eq!(adopted.version.generation, 1);
        assert!(known.iter().all(|known| adopted.follows(known)), "{adopted:?}");
        show(&adopted)
    };
    assert_eq!(adopt(Epoch(5)), "v10 e5 leader 1a isr 1a 2a min 2");
    assert_eq!(adopt(Epoch(6)), "v10 e6 leader none isr 1a 2a min 2");
    assert_eq!(inventory(&[]).adopted(), Adoption::None);
}

/// What `writer` writes over `base`.
fn write(base: &ShardRecord, writer: u64) -> ShardRecord {
    let version = Version { writer, ..base.version.next() };
    let epoch = Epoch(base.epoch.0 + u32::try_from(writer).unwrap());
    ShardRecord { version, epoch, lineage: Lineage::of(version, Some(base)).into(), ..base.clone() }
}

fn first() -> ShardRecord {
    let record = record("v1 e1 leader 0a isr 0a 1a 2a min 2");
    let version = Version { writer: 1, ..record.version };
    ShardRecord { version, lineage: Lineage::of(version, None).into(), ..record }
}

#[test]
fn a_branch_is_left_only_when_too_few_can_have_committed_under_it() {
    let root = first();
    let (lost, stored, third) = (write(&root, 2), write(&root, 3), write(&root, 4));
    let (further, late) = (write(&lost, 2), write(&stored, 5));
    // Its writer left what was lost, and did not know of the third.
    let Adoption::Record(adopted) = inventory(&[&lost, &stored, &stored]).adopted() else {
        panic!("the lost record can have been known to one replica alone");
    };
    for (told, expected) in [
        // What a minority knows can't be in force; what two of three know may be.
        ([&lost, &stored, &stored], Some(&stored)),
        ([&lost, &lost, &stored], Some(&lost)),
        ([&further, &lost, &stored], Some(&further)),
        // Who knows neither may yet take either.
        ([&lost, &root, &stored], None),
        // There is only one.
        ([&lost, &root, &root], Some(&lost)),
        // None of them: any will do.
        ([&lost, &stored, &third], Some(&third)),
        // An adoption leaves what it names, and nothing else.
        ([&adopted, &lost, &stored], Some(&adopted)),
        ([&adopted, &late, &late], Some(&late)),
        ([&adopted, &late, &stored], None),
        // What was told in an older generation may be old.
        ([&adopted, &third, &stored], None),
    ] {
        let all = inventory(&told);
        match (all.adopted(), expected) {
            (Adoption::Record(next), Some(base)) => {
                assert_eq!(next.descends_from(base.version), Some(true), "{told:#?}");
                assert!(told.iter().all(|told| next.follows(told)), "{told:#?}\n{next:#?}");
                assert!(!next.follows(&write(base, 7)), "what nobody told is not left");
            }
            (Adoption::Undecided(_), None) => {}
            (other, expected) => panic!("{told:#?}: {other:#?} in place of {expected:#?}"),
        }
    }
}
