//! Joins the replication core, the log and the network into a running broker.
