//! Replication, shard, streams and cursors as a machine without IO.
