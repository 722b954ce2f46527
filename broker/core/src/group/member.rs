//! One member of a group.

use bytes::Bytes;
use holdfast_protocol::group::{Join, Protocol};

use super::Token;
use super::limits::CLIENT_TEXT_BYTES_MAX;

/// A member; its id is its key in the group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: u32,
    pub(super) rebalance_timeout_ms: u32,
    /// Best first.
    pub(super) protocols: Vec<Protocol>,
    /// In the present generation; empty until that is stable.
    pub(super) assignment: Bytes,
    /// Its join that waits for the rebalance to end.
    pub(super) join: Option<Token>,
    /// Its sync that waits for the leader's assignment.
    pub(super) sync: Option<Token>,
    /// Whether it has asked for its assignment in this generation.
    pub(super) has_synced: bool,
    /// Whether it was told what it is assigned in this generation.
    pub(super) is_assigned: bool,
    /// Whether it still waits for the answer to its first join, and so can't send heartbeats.
    pub(super) is_new: bool,
    /// When it is dead, unless heard of before.
    pub(super) deadline_ms: u64,
}

impl Member {
    /// A newcomer who waits for the answer to `token`.
    pub(super) fn new(join: Join, token: Token, deadline_ms: u64) -> Self {
        Self {
            instance: join.instance,
            client_id: shortened(&join.client_id).to_owned(),
            client_host: shortened(&join.client_host).to_owned(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: detached(&join.protocols),
            assignment: Bytes::new(),
            join: Some(token),
            sync: None,
            has_synced: false,
            is_assigned: false,
            is_new: true,
            deadline_ms,
        }
    }

    /// When it is dead; `None` while it waits for the coordinator, which would be to blame.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        let waits = self.join.is_some() || self.sync.is_some();
        (self.is_new || !waits).then_some(self.deadline_ms)
    }

    /// It was heard of, or answered, at `now_ms`.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.deadline_ms = now_ms.saturating_add(u64::from(self.session_timeout_ms));
    }

    /// What it says under `protocol`; empty where it does not know that.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|known| known.name == protocol)
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    pub(super) fn metadata_bytes(&self) -> usize {
        metadata_bytes(&self.protocols)
    }
}

/// Size of a member's protocols as kept, bytes.
pub(super) fn metadata_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

/// Copies: a slice of a request would hold the whole of it in memory as long as the member lives.
pub(super) fn detached(protocols: &[Protocol]) -> Vec<Protocol> {
    protocols
        .iter()
        .map(|protocol| Protocol {
            name: protocol.name.clone(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        })
        .collect()
}

/// As much of `text` as is kept.
pub(super) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(CLIENT_TEXT_BYTES_MAX)]
}
