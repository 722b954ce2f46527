//! What may not change from one run to the next: the rules about change, told with their place.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::{CustomResourceExt, ResourceExt};
use serde::Serialize;

use super::Loaded;
use super::kinds::{Resource, Typed};
use super::path::Path;
use super::problem::{Problem, Violation};
use super::rules::Rules;
use crate::{Queue, ReplicationPolicy, Topic, crd};

/// The resources as they were accepted before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Previous<'a> {
    /// The policy; none where nothing ran before.
    pub policy: Option<&'a ReplicationPolicy>,
    /// The topics.
    pub topics: &'a [Topic],
    /// The queues.
    pub queues: &'a [Queue],
}

impl<'a> From<&'a Loaded> for Previous<'a> {
    fn from(loaded: &'a Loaded) -> Self {
        Self { policy: Some(&loaded.policy), topics: &loaded.topics, queues: &loaded.queues }
    }
}

/// Holds each resource to the rules about change from what it was.
pub(super) fn check(
    resources: &[Resource<'_, '_>],
    previous: &Previous<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut rules = Rules::default();
    let (topics, queues) = (Olds::new(previous.topics), Olds::new(previous.queues));
    for resource in resources {
        let violations = match &resource.typed {
            Typed::Policy(policy) => {
                previous.policy.map(|old| change_of_policy(&mut rules, old, policy))
            }
            Typed::Topic(topic) => topics.change(&mut rules, topic),
            Typed::Queue(queue) => queues.change(&mut rules, queue),
        };
        problems.extend(resource.problems(violations.unwrap_or_default()));
    }
}

/// There is one policy, so another name is a change of it and not another one.
fn change_of_policy(
    rules: &mut Rules,
    old: &ReplicationPolicy,
    new: &ReplicationPolicy,
) -> Vec<Violation> {
    let was = old.name_any();
    if was == new.name_any() {
        return rules.change(&crd::schema::<ReplicationPolicy>(), old, new);
    }
    vec![Violation {
        field: Path::of("metadata.name"),
        message: format!(
            "was {was} before, and its messages are kept under that name: write {was}, or start with another data directory"
        ),
    }]
}

/// The earlier resources of one kind, by namespace and name.
struct Olds<'a, K> {
    schema: JSONSchemaProps,
    by_name: BTreeMap<(String, String), &'a K>,
}

impl<'a, K: CustomResourceExt + ResourceExt + Serialize> Olds<'a, K> {
    fn new(olds: &'a [K]) -> Self {
        let by_name = olds.iter().map(|old| (Self::key(old), old)).collect();
        Self { schema: crd::schema::<K>(), by_name }
    }

    fn key(resource: &K) -> (String, String) {
        let namespace = resource.namespace().unwrap_or_else(|| "default".into());
        (namespace, resource.name_any())
    }

    /// What of the change to `new` breaks a rule; `None` where there was no such resource.
    fn change(&self, rules: &mut Rules, new: &K) -> Option<Vec<Violation>> {
        let old = self.by_name.get(&Self::key(new))?;
        Some(rules.change(&self.schema, *old, new))
    }
}
