//! What only a real API server can show: that it takes the definitions, refuses what they refuse
//! with their words, and shows values in every column.
//!
//! It needs etcd and kube-apiserver, as `tests/cluster` builds them; without them the tests say
//! so and pass.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod server;

use holdfast_api::{Queue, ReplicationPolicy, Shard, Topic};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, CustomResourceExt, Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use server::Server;

/// A rule at work, as in operator/api.
#[derive(Deserialize)]
struct Case {
    message: String,
    field: String,
    #[serde(default)]
    old: Option<Value>,
    good: Value,
    bad: Value,
}

#[derive(Deserialize)]
struct Cases {
    base: Value,
    cases: Vec<Case>,
}

fn merged(base: &Value, over: &Value) -> Value {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return over.clone();
    };
    let mut map = base.clone();
    for (key, value) in over {
        let value = merged(base.get(key).unwrap_or(&Value::Null), value);
        map.insert(key.clone(), value);
    }
    Value::Object(map)
}

/// Resources of a kind, as plain values: what is refused may not fit its type.
struct Kind {
    api: Api<kube::core::DynamicObject>,
    version: String,
    kind: String,
}

impl Kind {
    fn new<K>(client: &Client) -> Self
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + CustomResourceExt,
    {
        let resource = K::api_resource();
        Self {
            api: Api::namespaced_with(client.clone(), "default", &resource),
            version: resource.api_version,
            kind: resource.kind,
        }
    }

    fn object(&self, name: &str, base: &Value, spec: &Value) -> kube::core::DynamicObject {
        let mut spec = merged(base, spec);
        let metadata = spec.as_object_mut().unwrap().remove("metadata");
        let metadata = metadata.unwrap_or(json!({"name": name}));
        let object = json!({"apiVersion": self.version, "kind": self.kind,
            "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    /// Asks whether a new object, or a change of `old`, would be taken.
    async fn ask(
        &self,
        old: Option<&kube::core::DynamicObject>,
        mut new: kube::core::DynamicObject,
    ) -> Result<(), kube::Error> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        match old {
            None => self.api.create(&dry, &new).await.map(|_| ()),
            Some(old) => {
                new.metadata.name = old.metadata.name.clone();
                new.metadata.resource_version = old.metadata.resource_version.clone();
                self.api.replace(&old.name_any(), &dry, &new).await.map(|_| ())
            }
        }
    }

    async fn run(&self, cases: &str, failures: &mut Vec<String>) -> usize {
        let Cases { base, cases } = serde_saphyr::from_str(cases).unwrap();
        for (index, case) in cases.iter().enumerate() {
            let old = match &case.old {
                Some(old) => {
                    let old = self.object("x", &base, old);
                    Some(self.api.create(&PostParams::default(), &old).await.unwrap())
                }
                None => None,
            };
            let about = format!("{} {index}: {}", self.kind, case.message);
            let good = self.object("x", &base, &case.good);
            if let Err(error) = self.ask(old.as_ref(), good).await {
                failures.push(format!("{about}: the good one is refused: {error}"));
            }
            let bad = self.object("x", &base, &case.bad);
            match self.ask(old.as_ref(), bad).await {
                Ok(()) => failures.push(format!("{about}: the bad one is taken")),
                Err(kube::Error::Api(status)) => {
                    let causes = status.details.iter().flat_map(|details| &details.causes);
                    let told = |cause: &kube::core::response::StatusCause| {
                        cause.message.contains(&case.message)
                            && (case.field.is_empty() || cause.field == case.field)
                    };
                    if !causes.clone().any(told) {
                        let causes: Vec<_> = causes.collect();
                        failures.push(format!(
                            "{about}: {} at {}: {causes:?}",
                            status.message, case.field
                        ));
                    }
                }
                Err(error) => failures.push(format!("{about}: {error}")),
            }
            if let Some(old) = old {
                self.api.delete(&old.name_any(), &DeleteParams::default()).await.unwrap();
            }
        }
        cases.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_the_rules_refuse_with_their_words() {
    let Some(server) = Server::start().await else { return };
    let client = &server.client;
    let mut failures = Vec::new();
    let mut count = 0;
    macro_rules! cases {
        ($kind:ty, $file:literal) => {
            let cases = include_str!(concat!("../../../api/src/load/tests/cases/", $file));
            count += Kind::new::<$kind>(client).run(cases, &mut failures).await;
        };
    }
    cases!(ReplicationPolicy, "replicationpolicy.yaml");
    cases!(Topic, "topic.yaml");
    cases!(Queue, "queue.yaml");
    cases!(Shard, "shard.yaml");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 50, "only {count} cases");
}

/// Makes an object with a status and returns its row in `kubectl get -o wide`, by column.
async fn row<K>(client: &Client, name: &str, spec: Value, status: Value) -> Vec<(String, Value)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + CustomResourceExt
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let kind = Kind::new::<K>(client);
    let object = kind.object(name, &json!({}), &spec);
    kind.api.create(&PostParams::default(), &object).await.unwrap();
    let patch = Patch::Merge(json!({ "status": status }));
    kind.api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    let path = format!("{}/{name}", K::url_path(&(), Some("default")));
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let names = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
    names.iter().map(name).zip(cells.iter().cloned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_shows_a_value() {
    let Some(server) = Server::start().await else { return };
    let client = &server.client;
    let ready = json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let member = json!({"broker": 0, "incarnation": "00000000-0000-0000-0000-000000000001"});
    let rows = [
        row::<ReplicationPolicy>(
            client,
            "p",
            json!({}),
            json!({"conditions": ready, "safeToRestart": true,
                "brokers": {"total": 3, "ready": 3, "restarts": 0},
                "shards": {"total": 12, "leaderless": 0, "underReplicated": 0,
                    "underMinInSyncReplicas": 0}}),
        )
        .await,
        row::<Topic>(client, "t", json!({"policy": "p"}), json!({"conditions": ready, "bytes": 5}))
            .await,
        row::<Shard>(
            client,
            "p-0",
            json!({"policy": "p", "shard": 0, "generation": 0, "revision": 1, "epoch": 1,
                "leader": member, "isr": [member], "replicas": [0, 1], "minInSyncReplicas": 1,
                "flush": "Sync"}),
            json!({"state": "Healthy", "inSync": "0"}),
        )
        .await,
    ];
    for row in rows {
        for (column, value) in row {
            let empty = value.is_null() || value == "" || value == "<unknown>";
            assert!(!empty, "column {column} shows {value}");
        }
    }
}
