//! The Kafka door: the Kafka wire protocol in front of the broker.
//!
//! The door converts and speaks; what is committed is decided behind [`holdfast_service::Service`].
//! `codec` turns frames into requests and answers into frames, and keeps hostile frames from
//! allocating; `api` holds one handler a file; `connection` keeps the order of answers and the
//! bounds on memory; `door` accepts.
//!
//! Not here: SASL, transactions, the new group protocol and share groups. They are not
//! advertised, so that clients fall back.

mod api;
mod authorized;
mod batch;
pub mod codec;
mod config;
mod connection;
mod context;
mod door;
mod errors;
mod fencing;
pub mod metrics;
mod options;
pub mod records;
mod reply;
mod topics;

pub use door::{Door, serve};
pub use metrics::Metrics;
pub use options::Options;
