//! The APIs that are served, in which versions, and the shape of their requests.

use kafka_protocol::messages::ApiKey;

use super::Error;
use super::requests::{admin, data, group};
use super::schema::{Record, Walk};

/// One API.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Which.
    pub key: ApiKey,
    /// The oldest version served.
    pub version_min: i16,
    /// The newest version served.
    pub version_max: i16,
    /// The first version with compact lengths and tagged fields (KIP-482).
    flexible: i16,
    body: &'static Record,
}

/// No version has compact lengths and tagged fields.
const NEVER: i16 = i16::MAX;

const fn api(key: ApiKey, versions: (i16, i16), flexible: i16, body: &'static Record) -> Api {
    Api { key, version_min: versions.0, version_max: versions.1, flexible, body }
}

/// Everything that is served, by key. What is not here is not advertised, so that clients fall
/// back: transactions (24 to 28), the new group protocol (68, 69), telemetry (71, 72), share
/// groups, SASL.
pub const APIS: [Api; 33] = [
    api(ApiKey::Produce, (3, 13), 9, &data::PRODUCE),
    api(ApiKey::Fetch, (4, 18), 12, &data::FETCH),
    api(ApiKey::ListOffsets, (1, 10), 6, &data::LIST_OFFSETS),
    api(ApiKey::Metadata, (0, 13), 9, &data::METADATA),
    api(ApiKey::OffsetCommit, (2, 9), 8, &group::OFFSET_COMMIT),
    api(ApiKey::OffsetFetch, (1, 9), 6, &group::OFFSET_FETCH),
    api(ApiKey::FindCoordinator, (0, 6), 3, &group::FIND_COORDINATOR),
    api(ApiKey::JoinGroup, (0, 9), 6, &group::JOIN_GROUP),
    api(ApiKey::Heartbeat, (0, 4), 4, &group::HEARTBEAT),
    api(ApiKey::LeaveGroup, (0, 5), 4, &group::LEAVE_GROUP),
    api(ApiKey::SyncGroup, (0, 5), 4, &group::SYNC_GROUP),
    api(ApiKey::DescribeGroups, (0, 6), 5, &group::DESCRIBE_GROUPS),
    api(ApiKey::ListGroups, (0, 5), 3, &group::LIST_GROUPS),
    api(ApiKey::ApiVersions, (0, 4), 3, &data::API_VERSIONS),
    api(ApiKey::CreateTopics, (2, 7), 5, &admin::CREATE_TOPICS),
    api(ApiKey::DeleteTopics, (1, 6), 4, &admin::DELETE_TOPICS),
    api(ApiKey::DeleteRecords, (0, 2), 2, &admin::DELETE_RECORDS),
    api(ApiKey::InitProducerId, (0, 5), 2, &data::INIT_PRODUCER_ID),
    api(ApiKey::OffsetForLeaderEpoch, (2, 4), 4, &data::OFFSET_FOR_LEADER_EPOCH),
    api(ApiKey::DescribeConfigs, (1, 4), 4, &admin::DESCRIBE_CONFIGS),
    api(ApiKey::AlterConfigs, (0, 2), 2, &admin::ALTER_CONFIGS),
    api(ApiKey::DescribeLogDirs, (1, 5), 2, &admin::DESCRIBE_LOG_DIRS),
    api(ApiKey::CreatePartitions, (0, 3), 2, &admin::CREATE_PARTITIONS),
    api(ApiKey::DeleteGroups, (0, 2), 2, &group::DELETE_GROUPS),
    api(ApiKey::ElectLeaders, (0, 2), 2, &admin::ELECT_LEADERS),
    api(ApiKey::IncrementalAlterConfigs, (0, 1), 1, &admin::INCREMENTAL_ALTER_CONFIGS),
    api(ApiKey::AlterPartitionReassignments, (0, 1), 0, &admin::ALTER_REASSIGNMENTS),
    api(ApiKey::ListPartitionReassignments, (0, 0), 0, &admin::LIST_REASSIGNMENTS),
    api(ApiKey::OffsetDelete, (0, 0), NEVER, &group::OFFSET_DELETE),
    api(ApiKey::DescribeQuorum, (0, 2), 0, &admin::DESCRIBE_QUORUM),
    api(ApiKey::DescribeCluster, (0, 2), 0, &admin::DESCRIBE_CLUSTER),
    api(ApiKey::ListConfigResources, (0, 1), 0, &admin::LIST_CONFIG_RESOURCES),
    api(ApiKey::DescribeTopicPartitions, (0, 0), 0, &admin::DESCRIBE_TOPIC_PARTITIONS),
];

impl Api {
    /// The API with this key.
    ///
    /// # Errors
    /// [`Error::UnknownApi`].
    pub fn of(key: i16) -> Result<&'static Self, Error> {
        APIS.iter().find(|api| api.key as i16 == key).ok_or(Error::UnknownApi(key))
    }

    /// Whether `version` is served.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.version_min..=self.version_max).contains(&version)
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }

    /// Whether the header of the answer has tagged fields. That of `ApiVersions` never has: its
    /// reader does not know yet what the broker speaks.
    #[must_use]
    pub fn answers_with_tags(&self, version: i16) -> bool {
        self.is_flexible(version) && self.key != ApiKey::ApiVersions
    }

    /// Holds `body` against the shape that the request has in `version`; gives the memory that
    /// decoding may take, bytes. Bytes behind the request are ignored, as Kafka does.
    ///
    /// # Errors
    /// [`Error`], where decoding must not be tried.
    pub fn check(&self, version: i16, body: &[u8]) -> Result<usize, Error> {
        if !self.serves(version) {
            let api = self.key as i16;
            return Err(Error::UnknownVersion { api, version });
        }
        let mut walk = Walk::new(body, version, self.is_flexible(version));
        walk.record(self.body)?;
        Ok(walk.decoded_bytes())
    }
}
