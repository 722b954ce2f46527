//! What the APIs of consumer groups share: asking the coordinator.

use holdfast_protocol::group::{Answer, Request};
use holdfast_service::{GroupError, Service};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::protocol::StrBytes;

use super::Call;
use crate::errors;

/// Why a group's coordinator gave nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) error: Option<GroupError>,
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        Self { code: errors::group(&error), error: Some(error) }
    }
}

/// Asks the coordinator of `group`, and takes out of its answer what belongs to the request.
pub(super) async fn ask<S: Service, T>(
    call: &Call<S>,
    group: &str,
    request: Request,
    take: fn(Answer) -> Option<T>,
) -> Result<T, Refusal> {
    let service = &call.context().service;
    let answer = service.group(service.shard_of_group(group), request).await?;
    take(answer).ok_or_else(|| {
        tracing::error!(group, "the coordinator answered something else than was asked");
        Refusal { code: Code::UnknownServerError, error: None }
    })
}

pub(super) fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

pub(super) fn owned(text: Option<&StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// A duration as Kafka has it; below zero is refused as zero is.
pub(super) fn milliseconds(milliseconds: i32) -> u32 {
    u32::try_from(milliseconds).unwrap_or(0)
}
