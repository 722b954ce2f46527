//! The StatefulSet: pod N is broker N, on volume N.
//!
//! The operator deletes the pods that are to be made anew (`OnDelete`), and deletes volumes
//! itself, where the policy says so: a StatefulSet that somebody deletes or scales by hand must
//! not take messages with it.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{Plan, pod};
use crate::names::{self, VOLUME};

pub(super) fn stateful_set(plan: &Plan<'_>) -> StatefulSet {
    StatefulSet {
        metadata: plan.metadata(plan.key.name.clone()),
        spec: Some(StatefulSetSpec {
            service_name: Some(names::headless(&plan.key.name)),
            replicas: i32::try_from(plan.brokers).ok(),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(3),
            selector: LabelSelector {
                match_labels: Some(names::selector(&plan.key.name)),
                ..LabelSelector::default()
            },
            template: pod::template(plan),
            volume_claim_templates: Some(vec![claim(plan)]),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Retain".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn claim(plan: &Plan<'_>) -> PersistentVolumeClaim {
    let size = Quantity(plan.storage.size.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.to_owned()),
            labels: Some(names::labels(&plan.key.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: plan.storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
