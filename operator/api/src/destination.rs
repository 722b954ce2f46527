//! Where messages go that can't stay where they are: a topic or a queue.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A topic or a queue of the same policy. Exactly one of the two is given.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = (
    "has(self.topic) != has(self.queue)",
    "exactly one of topic and queue must be given: set one and remove the other"
))]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Name of a topic, as clients know it. Give this or queue, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub topic: Option<String>,

    /// Name of a queue, as clients know it. Give this or topic, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub queue: Option<String>,
}
