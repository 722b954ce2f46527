//! What is kept of a group in the shard's log, for the coordinator of the next epoch.
//!
//! One byte of version, then a protobuf message. Fields are only ever added; the meaning of a
//! released version never changes. Waiting requests, sessions and members that are yet to come
//! back are not kept: clients repeat those.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use holdfast_protocol::group::{Generation, Protocol};
use prost::Message;

use super::limits::{SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN};
use super::member::Member;
use super::state::{Group, Phase};

/// The version written.
const VERSION: u8 = 1;

/// Why kept bytes are not a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// Written by a newer broker.
    #[error("the kept group has version {0}, which this broker does not know; upgrade it")]
    Version(u8),
    /// Not a message at all.
    #[error("the kept group can't be read")]
    Garbage(#[source] prost::DecodeError),
    /// A message that describes no group.
    #[error("the kept group can't be: {0}")]
    Impossible(&'static str),
}

#[derive(Clone, PartialEq, Message)]
struct KeptGroup {
    #[prost(int32, tag = "1")]
    generation: i32,
    #[prost(string, optional, tag = "2")]
    protocol_type: Option<String>,
    #[prost(string, optional, tag = "3")]
    protocol: Option<String>,
    #[prost(string, optional, tag = "4")]
    leader: Option<String>,
    #[prost(message, repeated, tag = "5")]
    members: Vec<KeptMember>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptMember {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    instance: Option<String>,
    #[prost(string, tag = "3")]
    client_id: String,
    #[prost(string, tag = "4")]
    client_host: String,
    #[prost(uint32, tag = "5")]
    session_timeout_ms: u32,
    #[prost(uint32, tag = "6")]
    rebalance_timeout_ms: u32,
    #[prost(message, repeated, tag = "7")]
    protocols: Vec<KeptProtocol>,
    #[prost(bytes = "bytes", tag = "8")]
    assignment: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct KeptProtocol {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    metadata: Bytes,
}

/// Writes `group` with `assignments` (member id to bytes) in the place of its own, where given.
pub(super) fn encode(group: &Group, assignments: Option<&BTreeMap<String, Bytes>>) -> Bytes {
    let members = group.members.iter().map(|(id, member)| KeptMember {
        id: id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: member.protocols.iter().map(kept_protocol).collect(),
        assignment: match assignments {
            Some(assignments) => assignments.get(id).cloned().unwrap_or_default(),
            None => member.assignment.clone(),
        },
    });
    let kept = KeptGroup {
        generation: group.generation.0,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone(),
        members: members.collect(),
    };
    let mut out = BytesMut::with_capacity(1 + kept.encoded_len());
    out.put_u8(VERSION);
    out.put_slice(&kept.encode_to_vec());
    out.freeze()
}

/// Reads what [`encode`] wrote: a stable group, its members with a fresh session, or an empty one.
///
/// # Errors
/// [`KeptError`].
pub(super) fn decode(name: &str, state: &[u8], now_ms: u64) -> Result<Group, KeptError> {
    let Some((version, message)) = state.split_first() else {
        return Err(KeptError::Impossible("it has no bytes"));
    };
    if *version != VERSION {
        return Err(KeptError::Version(*version));
    }
    let kept = KeptGroup::decode(message).map_err(KeptError::Garbage)?;
    check(&kept)?;
    let mut group = Group::new(name, now_ms);
    group.generation = Generation(kept.generation);
    group.protocol_type = kept.protocol_type;
    group.is_recorded = true;
    if kept.members.is_empty() {
        return Ok(group);
    }
    group.protocol = kept.protocol;
    group.leader = kept.leader;
    group.phase = Phase::Stable { sync_ms: None };
    for kept in kept.members {
        let id = kept.id.clone();
        if let Some(instance) = &kept.instance {
            group.instances.insert(instance.clone(), id.clone());
        }
        group.members.insert(id, member(kept, now_ms));
    }
    Ok(group)
}

fn kept_protocol(protocol: &Protocol) -> KeptProtocol {
    KeptProtocol { name: protocol.name.clone(), metadata: protocol.metadata.clone() }
}

fn member(kept: KeptMember, now_ms: u64) -> Member {
    let mut member = Member {
        instance: kept.instance,
        client_id: kept.client_id,
        client_host: kept.client_host,
        session_timeout_ms: kept
            .session_timeout_ms
            .clamp(SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX),
        rebalance_timeout_ms: kept.rebalance_timeout_ms,
        protocols: kept
            .protocols
            .into_iter()
            .map(|protocol| Protocol { name: protocol.name, metadata: protocol.metadata })
            .collect(),
        assignment: kept.assignment,
        join: None,
        sync: None,
        has_synced: true,
        is_assigned: true,
        is_new: false,
        deadline_ms: 0,
    };
    member.touch(now_ms);
    member
}

/// Everything that the coordinator takes for granted of a group that it kept.
fn check(kept: &KeptGroup) -> Result<(), KeptError> {
    let impossible = |what| Err(KeptError::Impossible(what));
    if kept.generation < 0 {
        return impossible("its generation is negative");
    }
    if kept.members.is_empty() {
        return Ok(());
    }
    let (Some(protocol), Some(_), Some(leader)) =
        (&kept.protocol, &kept.protocol_type, &kept.leader)
    else {
        return impossible("it has members, but no protocol or leader");
    };
    let mut ids = BTreeSet::new();
    let mut instances = BTreeSet::new();
    for member in &kept.members {
        if member.id.is_empty() || !ids.insert(&member.id) {
            return impossible("a member id is empty or there twice");
        }
        if let Some(instance) = &member.instance
            && !instances.insert(instance)
        {
            return impossible("an instance id is there twice");
        }
        if !member.protocols.iter().any(|known| known.name == *protocol) {
            return impossible("a member does not know the chosen protocol");
        }
    }
    if !ids.contains(leader) {
        return impossible("its leader is not a member");
    }
    Ok(())
}
