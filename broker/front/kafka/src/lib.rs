//! The Kafka door: the Kafka wire protocol in front of the broker.
