//! One session with an operator: records in, reports and wishes out.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_protocol::control::{FromBroker, ToBroker, from_broker, to_broker};
use holdfast_protocol::{ShardId, ShardRecord, control};
use holdfast_transport::Peer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use crate::node::Node;
use crate::peer::HELLO_TIMEOUT;
use crate::shard::{Input, Report};

/// Messages to an operator that wait for the connection.
const OUTGOING_MAX: usize = 16;
/// The most shards that an operator may name.
const SHARDS_MAX: u32 = 4096;

type Tx = mpsc::Sender<Result<FromBroker, Status>>;

/// Takes the operator's hello and starts the session.
pub(super) async fn begin(
    node: Arc<Node>,
    caller: Peer,
    mut messages: Streaming<ToBroker>,
) -> Result<mpsc::Receiver<Result<FromBroker, Status>>, Status> {
    let first = timeout(HELLO_TIMEOUT, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
    let Some(ToBroker { message: Some(to_broker::Message::Hello(hello)) }) = first else {
        return Err(Status::invalid_argument("the first message must be a hello"));
    };
    node.admit(caller, node.check_cluster(&hello.cluster))?;
    let (tx, rx) = mpsc::channel(OUTGOING_MAX);
    let shared = Arc::clone(&node);
    node.spawn(async move {
        info!(operator = %hello.operator, "session with an operator");
        let node = shared;
        let _attended = node.leaving.attend();
        let mut session =
            Session { node: Arc::clone(&node), tx, reported: HashMap::new(), announced: false };
        let why = match session.run(&mut messages).await {
            Ok(()) => "it left".to_owned(),
            Err(status) => status.message().to_owned(),
        };
        info!(operator = %hello.operator, %why, "session ended");
    });
    Ok(rx)
}

struct Session {
    node: Arc<Node>,
    tx: Tx,
    /// What the operator was last told of each replica.
    reported: HashMap<ShardId, Report>,
    /// It knows that this broker is about to stop.
    announced: bool,
}

impl Session {
    async fn run(&mut self, messages: &mut Streaming<ToBroker>) -> Result<(), Status> {
        self.send(from_broker::Message::Hello(self.node.hello())).await?;
        self.report(true).await?;
        let node = Arc::clone(&self.node);
        loop {
            let changed = node.reports_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // What changed between the last report and the wait is told now.
            self.report(false).await?;
            tokio::select! {
                message = messages.message() => match message? {
                    Some(message) => self.take(message).await?,
                    None => return Ok(()),
                },
                requests = node.isr_requests.take() => {
                    for (shard, request) in requests {
                        let request = control::IsrRequest {
                            shard: shard.0,
                            epoch: request.epoch.0,
                            expected: Some(request.expected.into()),
                            isr: request.isr.iter().map(|member| (*member).into()).collect(),
                        };
                        self.send(from_broker::Message::IsrRequest(request)).await?;
                    }
                }
                resigned = node.resignations.take() => {
                    for (shard, (epoch, reason)) in resigned {
                        let resign = control::Resign { shard: shard.0, epoch: epoch.0, reason };
                        self.send(from_broker::Message::Resign(resign)).await?;
                    }
                }
                () = changed => {}
                () = node.leaving.begun(), if !self.announced => {
                    self.announced = true;
                    self.send(from_broker::Message::Stopping(control::Stopping {})).await?;
                }
            }
        }
    }

    async fn send(&self, message: from_broker::Message) -> Result<(), Status> {
        let sent = self.tx.send(Ok(FromBroker { message: Some(message) })).await;
        sent.map_err(|_| Status::cancelled("the operator left"))
    }

    async fn take(&mut self, message: ToBroker) -> Result<(), Status> {
        match message.message {
            Some(to_broker::Message::Cluster(cluster)) => self.take_cluster(cluster).await,
            Some(to_broker::Message::Records(records)) => self.take_records(records).await,
            Some(to_broker::Message::IsrAnswer(answer)) => {
                self.take_isr_answer(answer).await;
                Ok(())
            }
            Some(to_broker::Message::Heartbeat(control::Heartbeat { sequence, .. })) => {
                let certificates = self.node.certificates();
                let beat = control::Heartbeat { sequence, certificates };
                self.send(from_broker::Message::Heartbeat(beat)).await
            }
            Some(to_broker::Message::LetGo(_)) => {
                self.node.leaving.let_go();
                Ok(())
            }
            Some(to_broker::Message::RenewVolume(renew)) => self.renew(renew).await,
            Some(to_broker::Message::Hello(_)) | None => Ok(()),
        }
    }

    /// Ends this process, unless the volume can't be written; then the next session tells again.
    async fn renew(&self, renew: control::RenewVolume) -> Result<(), Status> {
        let node = Arc::clone(&self.node);
        let renewed = tokio::task::spawn_blocking(move || node.renew_volume(renew.boot_counter));
        match renewed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Status::internal(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }

    /// Opens every shard of the policy: the operator needs the incarnation of an empty replica
    /// before it can name it in a record.
    async fn take_cluster(&mut self, cluster: control::Cluster) -> Result<(), Status> {
        if cluster.shards > SHARDS_MAX {
            let why =
                format!("{} shards are more than the {SHARDS_MAX} that can be", cluster.shards);
            return Err(Status::invalid_argument(why));
        }
        let shards = cluster.shards;
        self.node.publish_cluster(cluster);
        let records: Vec<ShardRecord> =
            self.node.shards().iter().filter_map(|handle| handle.view.report().record).collect();
        self.node.publish_shards(&records);
        let node = Arc::clone(&self.node);
        let opened = tokio::task::spawn_blocking(move || {
            (0..shards).try_for_each(|shard| node.open_shard(ShardId(shard)))
        })
        .await;
        if let Ok(Err(error)) = opened {
            warn!(%error, "a shard can't be opened");
        }
        self.report(true).await
    }

    async fn take_records(&mut self, records: control::Records) -> Result<(), Status> {
        for wire in records.records {
            let record = ShardRecord::try_from(wire)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            match self.node.shard(record.shard) {
                Some(handle) => handle.send(Input::Record(record)).await,
                None => warn!(shard = %record.shard, "a record for a shard that is not open"),
            }
        }
        Ok(())
    }

    async fn take_isr_answer(&self, answer: control::IsrAnswer) {
        let Some(handle) = self.node.shard(ShardId(answer.shard)) else { return };
        if let Some(Ok(record)) = answer.record.map(ShardRecord::try_from) {
            handle.send(Input::Record(record)).await;
        }
        if let (false, Some(expected)) = (answer.accepted, answer.expected) {
            handle.send(Input::IsrRefused(expected.into())).await;
        }
    }

    /// Tells what changed since the last time, or everything.
    async fn report(&mut self, complete: bool) -> Result<(), Status> {
        let mut replicas = Vec::new();
        for handle in self.node.shards() {
            let report = handle.view.report();
            if complete || self.reported.get(&handle.shard) != Some(&report) {
                replicas.push(to_wire(handle.shard, &report));
                self.reported.insert(handle.shard, report);
            }
        }
        if replicas.is_empty() && !complete {
            return Ok(());
        }
        self.send(from_broker::Message::Reports(control::Reports { replicas, complete })).await
    }
}

fn to_wire(shard: ShardId, report: &Report) -> control::ReplicaReport {
    let record = report.record.as_ref();
    control::ReplicaReport {
        shard: shard.0,
        incarnation: report.incarnation.0.to_vec().into(),
        version: record.map(|record| record.version.into()),
        epoch: record.map_or(0, |record| record.epoch.0),
        leading: report.confirmed.is_some(),
        end: report.end.0,
        last_epoch: report.last_epoch.0,
        committed: report.committed.0,
        held: report.held.0,
        failed: report.failure.is_some(),
        failure: report.failure.clone().unwrap_or_default(),
        record: record.map(Into::into),
        leads_epoch: report.leads.map_or(0, |epoch| epoch.0),
    }
}
