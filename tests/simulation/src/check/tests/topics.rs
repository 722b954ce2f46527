//! Which topics there are.

use holdfast_protocol::topic::{Catalog, Declarer, Topic, TopicConfig};

use super::*;

const DECLARED: TopicId = TopicId([1; 16]);

fn catalog(topics: &[(TopicId, &str)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (id, name) in topics {
        catalog.insert(Topic {
            id: *id,
            name: (*name).to_owned(),
            partitions: 1,
            config: TopicConfig::default(),
            declared_by: Declarer::default(),
        });
    }
    catalog
}

#[test]
fn what_was_declared_or_created_is_there() {
    let mut checker = Checker::default();
    checker.declared(DECLARED, Position(1));
    checker.created("made".to_owned(), Position(2));
    let both = catalog(&[(DECLARED, "declared"), (TopicId([2; 16]), "made")]);
    assert_eq!(checker.judge_topics(&both), Ok(()));
    let made = catalog(&[(TopicId([2; 16]), "made")]);
    assert_finds(checker.judge_topics(&made), "was declared and is not there");
    let declared = catalog(&[(DECLARED, "declared")]);
    assert_finds(checker.judge_topics(&declared), "made was created and is not there");
    checker.may_delete("made".to_owned());
    assert_eq!(checker.judge_topics(&declared), Ok(()));
}

#[test]
fn what_was_deleted_is_not() {
    let mut checker = Checker::default();
    checker.created("made".to_owned(), Position(1));
    checker.may_delete("made".to_owned());
    let made = catalog(&[(TopicId([2; 16]), "made")]);
    // It was asked for, and nobody said that it was done.
    assert_eq!(checker.judge_topics(&made), Ok(()));
    checker.deleted("made".to_owned(), Position(2));
    assert_finds(checker.judge_topics(&made), "made was deleted and is there");
    assert_eq!(checker.judge_topics(&catalog(&[])), Ok(()));
}
