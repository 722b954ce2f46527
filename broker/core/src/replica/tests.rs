//! Tests of the replica: the rules one by one, and a random cluster that needs them all.

mod cluster;
