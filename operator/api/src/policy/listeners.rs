//! Where clients connect, one block a protocol.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where clients connect, one block a protocol.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// Where Kafka clients connect.
    #[serde(default)]
    pub kafka: KafkaListeners,
}

/// Where Kafka clients connect.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.external) || self.external.port != self.internal.port")
            .message("spec.listeners.kafka.external.port must not be spec.listeners.kafka.internal.port, because one pod listens on both: change one of them")
            .field_path(".external.port"))]
#[serde(rename_all = "camelCase")]
pub struct KafkaListeners {
    /// For clients in the same cluster, which reach brokers by the DNS names of their pods; with
    /// `holdfast up`, for clients on the same machine.
    #[serde(default)]
    pub internal: InternalListener,

    /// For clients outside of the cluster. None without it. `holdfast up` does not open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalListener>,
}

/// For clients in the same cluster, or on the same machine.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("self.port != 9095 && self.port != 9096")
            .message("spec.listeners.kafka.internal.port must not be 9095 or 9096, because brokers listen there for each other and for metrics: choose another port, such as 9092")
            .field_path(".port"))]
#[serde(rename_all = "camelCase")]
pub struct InternalListener {
    /// Port on every broker's pod, 1 to 65535, but for 9095 and 9096. With `holdfast up`, where all brokers share
    /// 127.0.0.1, the first broker has this port, the second the next, and so on.
    #[serde(default = "default_internal_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

fn default_internal_port() -> u16 {
    9092
}

impl Default for InternalListener {
    fn default() -> Self {
        Self { port: default_internal_port() }
    }
}

/// For clients outside of the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.type != 'ClusterIP' || has(self.advertisedHost)")
            .message("spec.listeners.kafka.external.advertisedHost must be given with type ClusterIP, because only you know how clients get there: set it, such as kafka-{broker}.example.com")
            .field_path(".advertisedHost"),
    validation = Rule::new("self.type == 'NodePort' || !has(self.advertisedHost) || self.advertisedHost.contains('{broker}') || has(self.advertisedPort)")
            .message("spec.listeners.kafka.external.advertisedHost must contain {broker}, or every broker would be found at the same address: put {broker} in it, or give each broker a port of its own with advertisedPort")
            .field_path(".advertisedHost"),
    validation = Rule::new("!has(self.nodePort) || self.type == 'NodePort'")
            .message("spec.listeners.kafka.external.nodePort is for type NodePort only: remove it, or set type to NodePort")
            .field_path(".nodePort"),
    validation = Rule::new("self.port != 9095 && self.port != 9096")
            .message("spec.listeners.kafka.external.port must not be 9095 or 9096, because brokers listen there for each other and for metrics: choose another port, such as 9094")
            .field_path(".port")
)]
#[serde(rename_all = "camelCase")]
pub struct ExternalListener {
    /// NodePort: a port on every node. LoadBalancer: a load balancer for every broker.
    /// ClusterIP: a Service for every broker, for a proxy of your own to point at.
    #[serde(rename = "type")]
    pub kind: ExternalType,

    /// Port on every broker's pod, 1 to 65535, but for 9095 and 9096; not that of the internal
    /// listener.
    #[serde(default = "default_external_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// With type NodePort, the node port of the first broker; the second has the next, and so
    /// on. Without it Kubernetes chooses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<u16>,

    /// Host that clients are told, where `{broker}` stands for the number of the broker, such as
    /// `kafka-{broker}.example.com`. Without it, the address of the broker's node (NodePort) or
    /// of its load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-zA-Z0-9.:-]|\{broker\})+$"))]
    pub advertised_host: Option<String>,

    /// Port that clients are told. If advertisedHost contains `{broker}` it is the same for all;
    /// otherwise it is that of the first broker, and the second has the next, and so on.
    /// Without it, the port that Kubernetes opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub advertised_port: Option<u16>,

    /// Annotations of the Services, such as those that a cloud's load balancers are set up by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

fn default_external_port() -> u16 {
    9094
}

/// How an external listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalType {
    /// A port on every node.
    NodePort,
    /// A load balancer for every broker.
    LoadBalancer,
    /// A Service for every broker.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}
