//! What is said of replicas that do not hold the same.

use holdfast_core::batch;

use super::*;

fn holding(values: &[u64]) -> Vec<Bytes> {
    values.iter().map(|value| batch::build(1, 0, None, &value.to_be_bytes()).into()).collect()
}

#[test]
fn replicas_that_hold_the_same_are_equal() {
    assert_eq!(difference(&holding(&[]), &holding(&[])), None);
    assert_eq!(difference(&holding(&[1, 2]), &holding(&[1, 2])), None);
}

#[test]
fn one_batch_more_or_another_one_is_found() {
    let difference = |own: &[u64], theirs: &[u64]| difference(&holding(own), &holding(theirs));
    assert_eq!(difference(&[1, 2], &[1]).as_deref(), Some("2 batches, 1 batches"));
    assert_eq!(difference(&[1], &[1, 2]).as_deref(), Some("1 batches, 2 batches"));
    assert!(difference(&[1, 2], &[1, 3]).is_some_and(|what| what.contains("2), (")));
}

#[test]
fn a_bit_that_no_checker_reads_is_found() {
    let own = holding(&[1, 2]);
    let mut turned = own[1].to_vec();
    *turned.last_mut().expect("a batch has bytes") ^= 1;
    let theirs = vec![own[0].clone(), Bytes::from(turned)];
    assert!(difference(&own, &theirs).is_some());
}
