//! How many brokers may be evicted at a time: one. A policy with a single broker has no budget,
//! or its node could never be drained.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Plan;
use crate::names;

pub(super) fn budget(plan: &Plan<'_>) -> Option<PodDisruptionBudget> {
    (plan.brokers > 1).then(|| PodDisruptionBudget {
        metadata: plan.metadata(plan.key.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&plan.key.name)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
