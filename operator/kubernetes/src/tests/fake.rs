//! An API server in memory, for one namespace: versions, preconditions, finalizers, server-side
//! apply as far as one manager needs it, watches; and faults, drawn from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body as Answer;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

pub(crate) const NAMESPACE: &str = "shop";
/// Changes that a slow watch may be behind.
const CHANGES_MAX: usize = 4096;

/// A change of an object: its collection, the kind of change, and what it became.
pub(crate) type Change = (u64, String, &'static str, Value);

#[derive(Default)]
pub(crate) struct State {
    version: u64,
    uids: u64,
    /// By collection and name.
    pub(crate) objects: BTreeMap<(String, String), Value>,
    pub(crate) log: Vec<Change>,
    /// Writes that named nothing that was read.
    pub(crate) blind: Vec<String>,
    /// Requests that asked for a change.
    pub(crate) writes: u64,
    pub(crate) namespace_ends: bool,
    /// Draws faults; 0 for none.
    pub(crate) seed: u64,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Change>,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It is not done.
    Refused,
    /// It is done, and the answer is lost.
    AnswerLost,
}

struct Asked {
    method: Method,
    collection: String,
    name: Option<String>,
    status: bool,
    query: BTreeMap<String, String>,
    apply: bool,
    body: Value,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Self { state: Arc::default(), changes }
    }

    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, std::convert::Infallible>(fake.answer(request).await) }
        });
        Client::new(service, NAMESPACE)
    }

    /// The collection of a kind, by its group, version and plural name.
    pub(crate) fn collection(group: &str, plural: &str) -> String {
        match group {
            "" => format!("/api/v1/namespaces/{NAMESPACE}/{plural}"),
            "holdfast.dev" => {
                format!("/apis/holdfast.dev/v1alpha1/namespaces/{NAMESPACE}/{plural}")
            }
            _ => format!("/apis/{group}/v1/namespaces/{NAMESPACE}/{plural}"),
        }
    }

    pub(crate) fn get(&self, group: &str, plural: &str, name: &str) -> Option<Value> {
        let key = (Self::collection(group, plural), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Makes an object as a person would; returns it.
    pub(crate) fn put(&self, group: &str, plural: &str, object: Value) -> Value {
        let collection = Self::collection(group, plural);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.state.lock().unwrap().store(&self.changes, collection, name, object)
    }

    /// Annotates an object as a person would; removes the annotation where there is no value.
    pub(crate) fn annotate(
        &self,
        (group, plural, name): (&str, &str, &str),
        annotation: &str,
        value: Option<&str>,
    ) {
        let collection = Self::collection(group, plural);
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects[&(collection.clone(), name.to_owned())].clone();
        object["metadata"]["annotations"][annotation] = value.into();
        state.store(&self.changes, collection, name.to_owned(), object);
    }

    /// Deletes an object as a person would.
    pub(crate) fn delete(&self, group: &str, plural: &str, name: &str) {
        let collection = Self::collection(group, plural);
        self.state.lock().unwrap().delete(&self.changes, &collection, name);
    }

    /// Ends every watch with a gap: what they were told is too old.
    pub(crate) fn break_watches(&self) {
        let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "too old resource version"});
        let _ = self.changes.send((0, String::new(), "ERROR", gone));
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.clone();
        if uri.path() == format!("/api/v1/namespaces/{NAMESPACE}") {
            let ends = self.state.lock().unwrap().namespace_ends;
            let at = ends.then_some("2026-01-01T00:00:00Z");
            return json_answer(
                StatusCode::OK,
                &json!({"metadata": {"name": NAMESPACE, "deletionTimestamp": at}}),
            );
        }
        let query = uri.query().unwrap_or("");
        let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| {
            (k.to_owned(), v.replace("%2F", "/").replace("%3D", "=").replace("%2C", ","))
        });
        let split = format!("/namespaces/{NAMESPACE}/");
        let (root, rest) = uri.path().split_once(&split).unwrap();
        let mut rest = rest.split('/');
        let plural = rest.next().unwrap();
        let bytes = body.collect_bytes().await.unwrap();
        let kind = parts.headers.get("content-type").map(|kind| kind.to_str().unwrap());
        let asked = Asked {
            method: parts.method,
            collection: format!("{root}{split}{plural}"),
            name: rest.next().map(str::to_owned),
            status: rest.next() == Some("status"),
            query: query.collect(),
            apply: kind == Some("application/apply-patch+yaml"),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        if asked.query.contains_key("watch") {
            return self.watch(&asked);
        }
        let fault = self.state.lock().unwrap().fault();
        if fault == Fault::Refused {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "not now");
        }
        let answer = self.state.lock().unwrap().handle(&self.changes, asked);
        match (fault, answer) {
            (Fault::AnswerLost, _) => failure(StatusCode::GATEWAY_TIMEOUT, "the answer is lost"),
            (_, Ok(value)) => json_answer(StatusCode::OK, &value),
            (_, Err((code, why))) => failure(code, why),
        }
    }

    fn watch(&self, asked: &Asked) -> Response<Answer> {
        let since: u64 = asked.query["resourceVersion"].parse().unwrap_or(0);
        let state = self.state.lock().unwrap();
        let live = BroadcastStream::new(self.changes.subscribe());
        let past: Vec<_> = state.log.iter().filter(|(at, ..)| *at > since).cloned().collect();
        drop(state);
        let collection = asked.collection.clone();
        let selector = asked.query.get("labelSelector").cloned();
        let past = futures::stream::iter(past);
        let live = live.map(|change| change.expect("a watch is not so far behind"));
        let events = past.chain(live).filter_map(move |(_, of, kind, object)| {
            let ours = kind == "ERROR" || (of == collection && selected(&object, &selector));
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            std::future::ready(ours.then_some((kind, line)))
        });
        // Nothing comes after an error.
        let events = events.scan(false, |ended, (kind, line)| {
            let next = (!*ended).then_some(Ok::<_, std::convert::Infallible>(line));
            *ended |= kind == "ERROR";
            std::future::ready(next)
        });
        Response::new(Answer::from_stream(events))
    }
}

impl State {
    fn fault(&mut self) -> Fault {
        if self.seed == 0 {
            return Fault::None;
        }
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        match self.seed % 12 {
            0 => Fault::Refused,
            1 => Fault::AnswerLost,
            _ => Fault::None,
        }
    }

    fn handle(
        &mut self,
        changes: &broadcast::Sender<Change>,
        asked: Asked,
    ) -> Result<Value, (StatusCode, &'static str)> {
        let Some(name) = asked.name.clone() else {
            return match asked.method {
                Method::POST => self.create(changes, asked),
                _ => Ok(self.list(&asked)),
            };
        };
        let key = (asked.collection.clone(), name.clone());
        let current = self.objects.get(&key).cloned();
        let missing = (StatusCode::NOT_FOUND, "not found");
        match asked.method {
            Method::GET => current.ok_or(missing),
            Method::PUT => {
                self.writes += 1;
                let current = current.ok_or(missing)?;
                if asked.body["metadata"]["resourceVersion"].is_null() {
                    self.blind.push(format!("PUT {name} without a version"));
                }
                check(&asked.body, &current)?;
                let mut next = asked.body;
                next["status"] = current["status"].clone();
                Ok(self.store(changes, asked.collection, name, next))
            }
            Method::PATCH => {
                self.writes += 1;
                let mut next = match current {
                    Some(current) => {
                        check(&asked.body, &current)?;
                        current
                    }
                    None if asked.apply && !asked.status => json!({}),
                    None => return Err(missing),
                };
                patch(&mut next, asked.body, asked.status, asked.apply);
                Ok(self.store(changes, asked.collection, name, next))
            }
            Method::DELETE => {
                self.writes += 1;
                let current = current.ok_or(missing)?;
                if asked.body["preconditions"]["uid"].is_null() {
                    self.blind.push(format!("DELETE {name} of no certain object"));
                }
                check(&json!({"metadata": asked.body["preconditions"]}), &current)?;
                Ok(self.delete(changes, &asked.collection, &name))
            }
            other => panic!("{other} is not known"),
        }
    }

    fn create(
        &mut self,
        changes: &broadcast::Sender<Change>,
        asked: Asked,
    ) -> Result<Value, (StatusCode, &'static str)> {
        self.writes += 1;
        let name = asked.body["metadata"]["name"].as_str().unwrap().to_owned();
        if self.objects.contains_key(&(asked.collection.clone(), name.clone())) {
            return Err((StatusCode::CONFLICT, "already exists"));
        }
        Ok(self.store(changes, asked.collection, name, asked.body))
    }

    fn list(&self, asked: &Asked) -> Value {
        let selector = asked.query.get("labelSelector").cloned();
        let of = self.objects.iter().filter(|((collection, _), _)| *collection == asked.collection);
        let items: Vec<&Value> =
            of.map(|(_, object)| object).filter(|object| selected(object, &selector)).collect();
        json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    fn store(
        &mut self,
        changes: &broadcast::Sender<Change>,
        collection: String,
        name: String,
        mut object: Value,
    ) -> Value {
        let key = (collection.clone(), name.clone());
        let before = self.objects.get(&key).cloned();
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let metadata = &mut object["metadata"];
        metadata["namespace"] = NAMESPACE.into();
        match &before {
            None => {
                self.uids += 1;
                metadata["uid"] = format!("00000000-0000-0000-0000-{:012}", self.uids).into();
                metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
                metadata["generation"] = 1.into();
            }
            Some(before) => {
                for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation"] {
                    metadata[field] = before["metadata"][field].clone();
                }
                metadata["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
                if before["spec"] != object["spec"] {
                    let generation = before["metadata"]["generation"].as_u64().unwrap_or(0);
                    object["metadata"]["generation"] = (generation + 1).into();
                }
            }
        }
        prune(&mut object);
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let ends = object["metadata"].get("deletionTimestamp").is_some()
            && object["metadata"].get("finalizers").is_none_or(|f| f == &json!([]));
        let kind = if ends {
            self.objects.remove(&key);
            "DELETED"
        } else {
            self.objects.insert(key, object.clone());
            kind
        };
        self.note(changes, collection, kind, object.clone());
        object
    }

    fn delete(
        &mut self,
        changes: &broadcast::Sender<Change>,
        collection: &str,
        name: &str,
    ) -> Value {
        let key = (collection.to_owned(), name.to_owned());
        let mut object = self.objects[&key].clone();
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = if held {
            object["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
            let generation = object["metadata"]["generation"].as_u64().unwrap_or(0);
            object["metadata"]["generation"] = (generation + 1).into();
            self.objects.insert(key, object.clone());
            "MODIFIED"
        } else {
            self.objects.remove(&key);
            "DELETED"
        };
        self.note(changes, collection.to_owned(), kind, object.clone());
        object
    }

    fn note(
        &mut self,
        changes: &broadcast::Sender<Change>,
        collection: String,
        kind: &'static str,
        object: Value,
    ) {
        let change = (self.version, collection, kind, object);
        self.log.push(change.clone());
        let _ = changes.send(change);
    }
}

/// What a write names must be as it is.
fn check(body: &Value, current: &Value) -> Result<(), (StatusCode, &'static str)> {
    for field in ["uid", "resourceVersion"] {
        let named = &body["metadata"][field];
        if !named.is_null() && *named != current["metadata"][field] {
            return Err((StatusCode::CONFLICT, "the object has been modified"));
        }
    }
    Ok(())
}

fn patch(object: &mut Value, mut body: Value, status: bool, apply: bool) {
    if status {
        match body["status"].take() {
            whole if apply => object["status"] = whole,
            part => merge(&mut object["status"], part),
        }
        return;
    }
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
    }
    merge(object, body);
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Takes out what is null, as an API server does not store it.
fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(prune);
    }
}

fn selected(object: &Value, selector: &Option<String>) -> bool {
    let Some(selector) = selector else { return true };
    selector
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .all(|(key, value)| object["metadata"]["labels"][key] == value)
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Answer> {
    let answer = Response::builder().status(code).header("content-type", "application/json");
    answer.body(Answer::from(value.to_string())).unwrap()
}

fn failure(code: StatusCode, why: &str) -> Response<Answer> {
    let reason = match code {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code.as_u16(), "message": why, "reason": reason});
    json_answer(code, &status)
}
