//! Observes brokers and records, and carries out what the operator core plans.
