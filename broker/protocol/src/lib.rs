//! Words that operator and broker share: ids, epochs, membership, entries, gRPC.
