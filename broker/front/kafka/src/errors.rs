//! Refusals of the broker as the error codes that clients know what to do about.
//!
//! A client retries on the codes that Kafka calls retriable; those given here for an unknown
//! fate are all of that kind, and an idempotent producer repeats without doubling.

use holdfast_protocol::group;
use holdfast_service::{AppendError, CatalogError, GroupError, ReadError};
use kafka_protocol::ResponseError as Code;

/// An append that was refused, or whose fate is unknown.
pub(crate) fn append(error: &AppendError) -> Code {
    match error {
        AppendError::NotLeader | AppendError::LeadershipLost => Code::NotLeaderOrFollower,
        AppendError::UnknownStream => Code::UnknownTopicOrPartition,
        AppendError::NotEnoughReplicas => Code::NotEnoughReplicas,
        AppendError::TooLarge { .. } => Code::MessageTooLarge,
        AppendError::Corrupt(_) => Code::CorruptMessage,
        AppendError::Invalid(_) => Code::InvalidRecord,
        AppendError::OutOfOrderSequence { .. } => Code::OutOfOrderSequenceNumber,
        AppendError::ProducerFenced { .. } => Code::InvalidProducerEpoch,
        AppendError::Storage(_) => Code::KafkaStorageError,
        AppendError::OffsetOutOfRange(_) => Code::OffsetOutOfRange,
    }
}

/// A read that gave nothing.
pub(crate) fn read(error: &ReadError) -> Code {
    match error {
        ReadError::NotLeader => Code::NotLeaderOrFollower,
        ReadError::NotReady => Code::LeaderNotAvailable,
        ReadError::UnknownStream => Code::UnknownTopicOrPartition,
        ReadError::OffsetOutOfRange { .. } => Code::OffsetOutOfRange,
        ReadError::Storage(_) => Code::KafkaStorageError,
    }
}

/// A change to the catalog that was refused, or whose fate is unknown.
pub(crate) fn catalog(error: &CatalogError) -> Code {
    match error {
        CatalogError::NotLeader => Code::NotController,
        CatalogError::NotEnoughReplicas => Code::NotEnoughReplicas,
        CatalogError::NameTaken(_) => Code::TopicAlreadyExists,
        CatalogError::UnknownTopic => Code::UnknownTopicOrPartition,
        CatalogError::FewerPartitions { .. } => Code::InvalidPartitions,
        CatalogError::TooManyTopics(_) => Code::PolicyViolation,
        CatalogError::Storage(_) => Code::KafkaStorageError,
        CatalogError::LeadershipLost => Code::RequestTimedOut,
    }
}

/// A group request that no coordinator answered.
pub(crate) fn group(error: &GroupError) -> Code {
    match error {
        GroupError::NotCoordinator => Code::NotCoordinator,
        GroupError::Loading => Code::CoordinatorLoadInProgress,
        GroupError::Group(error) => refusal(error),
    }
}

/// A refusal of a group's coordinator.
pub(crate) fn refusal(error: &group::Error) -> Code {
    match error {
        group::Error::UnknownMember => Code::UnknownMemberId,
        group::Error::IllegalGeneration => Code::IllegalGeneration,
        group::Error::RebalanceInProgress => Code::RebalanceInProgress,
        group::Error::MemberIdRequired { .. } => Code::MemberIdRequired,
        group::Error::FencedInstance => Code::FencedInstanceId,
        group::Error::InconsistentProtocol => Code::InconsistentGroupProtocol,
        group::Error::InvalidSessionTimeout { .. } => Code::InvalidSessionTimeout,
        group::Error::GroupMaxSizeReached => Code::GroupMaxSizeReached,
        group::Error::TooManyGroups(_) => Code::PolicyViolation,
        group::Error::NonEmptyGroup => Code::NonEmptyGroup,
        group::Error::GroupIdNotFound => Code::GroupIdNotFound,
        group::Error::InvalidGroupId => Code::InvalidGroupId,
        group::Error::OffsetMetadataTooLarge { .. } => Code::OffsetMetadataTooLarge,
        group::Error::InvalidCommitOffsetSize => Code::InvalidCommitOffsetSize,
        group::Error::GroupSubscribedToTopic => Code::GroupSubscribedToTopic,
        group::Error::AssignmentTooLarge { .. } => Code::MessageTooLarge,
        group::Error::InvalidRequest(_) => Code::InvalidRequest,
        group::Error::CoordinatorNotAvailable => Code::CoordinatorNotAvailable,
        group::Error::NotCoordinator => Code::NotCoordinator,
    }
}
