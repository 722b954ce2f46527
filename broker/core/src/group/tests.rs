//! Scenarios with a fake clock, one file a concern, and random requests against the invariants.
