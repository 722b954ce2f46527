//! What strangers and friends may take of a broker at its internal port.

use std::time::Duration;

/// Connections that are open at once; more are closed at once. Each broker and each operator
/// needs a handful.
pub const CONNECTIONS_MAX: usize = 1024;
/// Connections whose handshake is under way, of all addresses.
pub const HANDSHAKES_MAX: usize = 256;
/// Connections whose handshake is under way, of one address: one stranger can't keep the others
/// out.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// gRPC calls that are open at once on one connection.
pub const CONNECTION_STREAMS_MAX: u32 = 64;
/// Headers of one call, bytes.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// What one call may have under way before it is taken, bytes.
pub const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// What all calls of one connection may have under way together, bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
