//! What is asked of a group's coordinator, and what it answers.
//!
//! The words of Kafka's classic group protocol, free of the versions of its wire format, so that
//! another door may use them too. A door splits a request for groups of several shards, puts
//! stream ids in the place of names, and maps [`Error`] to its own codes; the comment at each
//! variant names Kafka's. Sizes are checked by the coordinator (`holdfast_core::group::limits`).

use std::fmt;

use bytes::Bytes;

use crate::ids::{Offset, StreamId};

/// The shortest session timeout that a member may ask for, ms. Kafka's
/// `group.min.session.timeout.ms` is 6000 unless it is set; here a coordinator hears of a dead
/// member as soon as its clients want it to, down to what a busy machine's pauses allow.
pub const SESSION_TIMEOUT_MS_MIN: u32 = 1_000;

/// The longest session timeout, ms (Kafka's `group.max.session.timeout.ms`).
pub const SESSION_TIMEOUT_MS_MAX: u32 = 30 * 60 * 1000;

/// The number of a rebalance of one group. Only grows; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// "Of no generation": a commit by one who is not a member (a simple consumer, an admin).
    pub const NONE: Self = Self(-1);

    /// The generation of the next rebalance.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request to the coordinator of one shard's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Become, or go on being, a member; answered when the rebalance is over.
    Join(Join),
    /// Hand out (the leader) or wait for (everyone) the assignment of a generation.
    Sync(Sync),
    /// Stay a member.
    Heartbeat(Heartbeat),
    /// Take members out.
    Leave(Leave),
    /// Tell about groups.
    Describe(Describe),
    /// Name all groups.
    List(List),
    /// Delete empty groups with their offsets.
    DeleteGroups(DeleteGroups),
    /// Move cursors of a group.
    CommitOffsets(CommitOffsets),
    /// Read cursors of a group.
    FetchOffsets(FetchOffsets),
    /// Drop cursors of a group.
    DropOffsets(DropOffsets),
}

/// The answer to a [`Request`], of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The caller is a member of a new (or, for an unchanged one, the present) generation.
    Join(Joined),
    /// The caller's assignment.
    Sync(Synced),
    /// The member lives, and no rebalance is under way.
    Heartbeat,
    /// The outcome for each member that was to leave, in the order asked.
    Leave(Vec<Left>),
    /// In the order asked.
    Describe(Vec<Described>),
    /// In the order of their names.
    List(Vec<Listed>),
    /// By group, in the order asked.
    DeleteGroups(Vec<(String, Result<(), Error>)>),
    /// By stream, in the order asked. Those without an error are committed in the shard's log.
    CommitOffsets(Vec<(StreamId, Result<(), Error>)>),
    /// In the order asked; for "all", in the order of the streams, only those that there are.
    FetchOffsets(Vec<Fetched>),
    /// By stream, in the order asked. Dropping one that is not there is no error.
    DropOffsets(Vec<(StreamId, Result<(), Error>)>),
}

/// Kafka `JoinGroup`. Answered by [`Joined`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: String,
    /// The member id; empty for one who has none yet.
    pub member: String,
    /// The instance id of a static member (KIP-345).
    pub instance: Option<String>,
    /// The client id of the request's header; empty for none.
    pub client_id: String,
    /// Where the client connects from, as people are shown it.
    pub client_host: String,
    /// Silence after which the member is dead, ms.
    pub session_timeout_ms: u32,
    /// How long a rebalance waits for the member, ms. Version 0 has none: its session timeout.
    pub rebalance_timeout_ms: u32,
    /// What kind of group it is, such as `consumer` or `connect`.
    pub protocol_type: String,
    /// Names of the assignors that the member knows, best first, each with its subscription.
    pub protocols: Vec<Protocol>,
    /// Why the member joins (from version 8).
    pub reason: Option<String>,
    /// Refuse a member without an id with [`Error::MemberIdRequired`] (from version 4).
    pub require_known_member_id: bool,
    /// The client understands [`Joined::skip_assignment`] (from version 9).
    pub supports_skip_assignment: bool,
}

/// An assignor that a member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// What the member tells the group's leader under it.
    pub metadata: Bytes,
}

/// The answer to [`Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation joined.
    pub generation: Generation,
    /// The group's protocol type (told from version 7).
    pub protocol_type: String,
    /// The assignor that the members' votes chose.
    pub protocol: String,
    /// Member id of the group's leader, who makes the assignment.
    pub leader: String,
    /// The caller leads, but the assignment stands: don't make one (told from version 9).
    pub skip_assignment: bool,
    /// The caller's member id.
    pub member: String,
    /// All members with their metadata, for the leader; empty for others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its member id.
    pub member: String,
    /// Its instance id, if static.
    pub instance: Option<String>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// Kafka `SyncGroup`. Answered by [`Synced`], once the new generation is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: String,
    /// The generation that the caller joined.
    pub generation: Generation,
    /// The caller's member id.
    pub member: String,
    /// The caller's instance id, if static (from version 3).
    pub instance: Option<String>,
    /// The protocol type that the caller expects (from version 5).
    pub protocol_type: Option<String>,
    /// The protocol that the caller expects (from version 5).
    pub protocol: Option<String>,
    /// From the leader: member id and assignment. Members left out are assigned nothing.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to [`Sync`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type (told from version 5).
    pub protocol_type: String,
    /// The chosen protocol (told from version 5).
    pub protocol: String,
    /// What the leader assigned the caller.
    pub assignment: Bytes,
}

/// Kafka `Heartbeat`. [`Error::RebalanceInProgress`] asks the member to join again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: String,
    /// The generation that the caller is in.
    pub generation: Generation,
    /// The caller's member id.
    pub member: String,
    /// The caller's instance id, if static (from version 3).
    pub instance: Option<String>,
}

/// Kafka `LeaveGroup`. Versions 0 to 2 name one member, and take its error as the answer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// The group.
    pub group: String,
    /// Who leaves.
    pub members: Vec<Leaver>,
}

/// One who leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaver {
    /// Member id; empty where an admin names a static member by its instance alone.
    pub member: String,
    /// Instance id, if static.
    pub instance: Option<String>,
    /// Why (from version 5).
    pub reason: Option<String>,
}

/// The outcome of one [`Leaver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// As asked.
    pub member: String,
    /// As asked.
    pub instance: Option<String>,
    /// What came of it.
    pub result: Result<(), Error>,
}

/// Kafka `DescribeGroups`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Describe {
    /// The groups, all of the asked shard.
    pub groups: Vec<String>,
}

/// A group as described. For [`Error::GroupIdNotFound`] versions 0 to 5 show a group `Dead`
/// without members and no error; version 6 shows both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The group.
    pub group: String,
    /// What there is to tell.
    pub result: Result<Description, Error>,
}

/// What there is to tell of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its state.
    pub state: State,
    /// Its protocol type; empty for one that only ever committed offsets.
    pub protocol_type: String,
    /// The chosen protocol; empty unless the group is stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Member id.
    pub member: String,
    /// Instance id, if static.
    pub instance: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Where the client connects from.
    pub client_host: String,
    /// Its subscription under the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

/// The state of a group, as Kafka's classic protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// No members.
    Empty,
    /// Members are called to join the next generation.
    PreparingRebalance,
    /// The generation has its members, and waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has, or can fetch, its assignment.
    Stable,
    /// Being deleted.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Stable,
        Self::Dead,
    ];

    /// The name that Kafka's clients know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// The state with this name, in whatever case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kafka `ListGroups`. All groups here are of the type `classic`: the filter by type of
/// version 5 is the door's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Only groups in one of these states; `None`: all. A filter none of whose names is a state
    /// is `Some` of an empty list, and matches nothing.
    pub states: Option<Vec<State>>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The group.
    pub group: String,
    /// Its protocol type; empty for one that only ever committed offsets.
    pub protocol_type: String,
    /// Its state (told from version 4).
    pub state: State,
}

/// Kafka `DeleteGroups`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteGroups {
    /// The groups, all of the asked shard.
    pub groups: Vec<String>,
}

/// Kafka `OffsetCommit`. Answered once committed in the shard's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group.
    pub group: String,
    /// The caller's generation; [`Generation::NONE`] for one who is not a member.
    pub generation: Generation,
    /// The caller's member id; empty for one who is not a member.
    pub member: String,
    /// The caller's instance id, if static (from version 7).
    pub instance: Option<String>,
    /// The cursors.
    pub offsets: Vec<CommitOffset>,
}

/// One cursor to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOffset {
    /// The stream.
    pub stream: StreamId,
    /// The offset of the message to be read next.
    pub offset: Offset,
    /// Leader epoch of the message read last; -1: not told.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// Kafka `OffsetFetch`, of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group.
    pub group: String,
    /// The streams; `None`: all that the group has a cursor in.
    pub streams: Option<Vec<StreamId>>,
}

/// One cursor as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The stream.
    pub stream: StreamId,
    /// The cursor; `None` where the group has none (Kafka: offset -1, no error).
    pub cursor: Option<FetchedCursor>,
}

/// Where a cursor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedCursor {
    /// The offset of the message to be read next.
    pub offset: Offset,
    /// Leader epoch of the message read last; -1: not told.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// Kafka `OffsetDelete`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropOffsets {
    /// The group.
    pub group: String,
    /// What to drop, by topic.
    pub topics: Vec<DropTopic>,
}

/// Cursors in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropTopic {
    /// Name of the topic: the group must not be subscribed to it.
    pub name: String,
    /// The streams.
    pub streams: Vec<StreamId>,
}

/// Why a coordinator refused. The message is for people, the variant for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The group does not know the member (`UNKNOWN_MEMBER_ID`, 25).
    #[error("the group does not know the member; join again without a member id")]
    UnknownMember,
    /// The generation is not the present one (`ILLEGAL_GENERATION`, 22).
    #[error("the generation is not the group's present one; join again")]
    IllegalGeneration,
    /// The group rebalances (`REBALANCE_IN_PROGRESS`, 27).
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    /// Join again under the member id given here (`MEMBER_ID_REQUIRED`, 79).
    #[error("join again as `{member}`")]
    MemberIdRequired {
        /// The member id to be used.
        member: String,
    },
    /// Another client took over the instance id (`FENCED_INSTANCE_ID`, 82).
    #[error("another client has joined under the same group instance id")]
    FencedInstance,
    /// No common protocol, or another protocol type (`INCONSISTENT_GROUP_PROTOCOL`, 23).
    #[error("the member shares no protocol with the group's other members")]
    InconsistentProtocol,
    /// The session timeout is out of bounds (`INVALID_SESSION_TIMEOUT`, 26).
    #[error("the session timeout is out of bounds: use {min_ms} to {max_ms} ms")]
    InvalidSessionTimeout {
        /// The shortest, ms.
        min_ms: u32,
        /// The longest, ms.
        max_ms: u32,
    },
    /// The group has as many members, or bytes of metadata, as it may
    /// (`GROUP_MAX_SIZE_REACHED`, 81).
    #[error("the group is full; take members out or use another group")]
    GroupMaxSizeReached,
    /// The shard has as many groups as it may (`POLICY_VIOLATION`, 44).
    #[error("the shard holds {0} groups, which is the most; delete some")]
    TooManyGroups(usize),
    /// The group has members (`NON_EMPTY_GROUP`, 68).
    #[error("the group has members; stop them first")]
    NonEmptyGroup,
    /// There is no such group (`GROUP_ID_NOT_FOUND`, 69).
    #[error("there is no such group")]
    GroupIdNotFound,
    /// The group id is empty or too long (`INVALID_GROUP_ID`, 24).
    #[error("the group id is empty or too long")]
    InvalidGroupId,
    /// A cursor's metadata is too long (`OFFSET_METADATA_TOO_LARGE`, 12).
    #[error("the metadata of the offset has {bytes} bytes, at most {max} are kept")]
    OffsetMetadataTooLarge {
        /// What it has.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// Too much in one commit (`INVALID_COMMIT_OFFSET_SIZE`, 28).
    #[error("the commit is too large; commit fewer partitions at once")]
    InvalidCommitOffsetSize,
    /// The group reads the topic (`GROUP_SUBSCRIBED_TO_TOPIC`, 86).
    #[error("the group is subscribed to the topic; stop its members first")]
    GroupSubscribedToTopic,
    /// The leader's assignments are too large to be kept (`MESSAGE_TOO_LARGE`, 10).
    #[error("the assignments have {bytes} bytes, at most {max} are kept")]
    AssignmentTooLarge {
        /// What they have.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// A field that no client of the protocol would send (`INVALID_REQUEST`, 42).
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    /// The change could not be kept, too many are under way, or the group is being deleted:
    /// try again (`COORDINATOR_NOT_AVAILABLE`, 15).
    #[error("the coordinator can't serve the group at present; try again")]
    CoordinatorNotAvailable,
    /// Leadership of the shard ended; a change's fate is unknown (`NOT_COORDINATOR`, 16).
    #[error("this broker no longer coordinates the group; find the coordinator again")]
    NotCoordinator,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_name() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(State::from_name(&state.name().to_lowercase()), Some(state));
        }
        assert_eq!(State::from_name("Assigning"), None);
    }
}
