//! The pod of a broker: restricted, without credentials of Kubernetes, spread over nodes and zones.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::names::{self, CONTAINER, HTTP_PORT, PEER_PORT, POD_INDEX_LABEL, VOLUME};

/// The user and group of a broker: nobody's, as in images without a system.
const USER: i64 = 65_532;
/// How long a broker may take to stop, s: to hand over, and to close its logs.
const STOP_SECONDS: i64 = 60;
/// How long a broker may take to recover its logs before it is started anew, s.
const START_SECONDS: i32 = 1800;
/// Where certificates are.
const TLS_DIRECTORY: &str = "/etc/holdfast/tls";

pub(super) fn template(plan: &Plan<'_>) -> PodTemplateSpec {
    let placement = plan.spec.placement.clone().unwrap_or_default();
    let spread = Some(placement.topology_spread_constraints).filter(|own| !own.is_empty());
    let secret = plan.tls_secret.map(|name| Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(&plan.key.name)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(plan)],
            image_pull_secrets: Some(pull_secrets(plan)).filter(|own| !own.is_empty()),
            volumes: secret.map(|secret| vec![secret]),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(STOP_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            node_selector: Some(placement.node_selector).filter(|own| !own.is_empty()),
            affinity: placement.affinity,
            tolerations: Some(placement.tolerations).filter(|own| !own.is_empty()),
            priority_class_name: placement.priority_class_name,
            topology_spread_constraints: Some(spread.unwrap_or_else(|| spreading(plan))),
            ..PodSpec::default()
        }),
    }
}

/// Each once: an API server refuses a list that names one twice.
fn pull_secrets(plan: &Plan<'_>) -> Vec<LocalObjectReference> {
    let mut names: Vec<String> = Vec::new();
    for name in plan.pull.secrets.iter().map(ToString::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| LocalObjectReference { name }).collect()
}

/// Over nodes and over zones, as evenly as can be; a cluster with fewer nodes than brokers still
/// runs them all.
fn spreading(plan: &Plan<'_>) -> Vec<TopologySpreadConstraint> {
    let over = |topology: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::selector(&plan.key.name)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    };
    vec![over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")]
}

fn container(plan: &Plan<'_>) -> Container {
    let kafka = &plan.spec.listeners.kafka;
    let mut ports = vec![("kafka", kafka.internal.port), ("peer", PEER_PORT), ("http", HTTP_PORT)];
    ports.extend(kafka.external.as_ref().map(|external| ("external", external.port)));
    let port = |(name, port): (&str, u16)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount(VOLUME, "/data", false)];
    mounts.extend(plan.tls_secret.map(|_| mount("tls", TLS_DIRECTORY, true)));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(plan.image.to_owned()),
        image_pull_policy: plan.pull.policy.map(|policy| policy.as_str().to_owned()),
        command: Some(vec!["/holdfast".to_owned()]),
        args: Some(arguments(plan)),
        env: Some(vec![EnvVar {
            name: "HOLDFAST_BROKER".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: format!("metadata.labels['{POD_INDEX_LABEL}']"),
                }),
                ..EnvVarSource::default()
            }),
        }]),
        ports: Some(ports.into_iter().map(port).collect()),
        resources: plan.spec.resources.clone(),
        volume_mounts: Some(mounts),
        startup_probe: Some(probe("/livez", 1, START_SECONDS)),
        // It ends a process that hangs. Whether a broker is there is decided by the operator.
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn arguments(plan: &Plan<'_>) -> Vec<String> {
    let kafka = &plan.spec.listeners.kafka;
    let mut arguments = vec![
        "broker".to_owned(),
        format!("--cluster={}", names::cluster_id(plan.key)),
        "--data=/data".to_owned(),
        format!("--peer=0.0.0.0:{PEER_PORT}"),
        format!("--http=0.0.0.0:{HTTP_PORT}"),
        format!("--kafka=internal=0.0.0.0:{}", kafka.internal.port),
    ];
    if let Some(external) = &kafka.external {
        arguments.push(format!("--kafka=external=0.0.0.0:{}", external.port));
    }
    if plan.tls_secret.is_some() {
        arguments.push(format!("--tls-dir={TLS_DIRECTORY}"));
    }
    arguments
}

/// A probe every `seconds`, which fails when it failed `failures` times in a row.
fn probe(path: &str, seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(seconds),
        timeout_seconds: Some(2),
        success_threshold: Some(1),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
