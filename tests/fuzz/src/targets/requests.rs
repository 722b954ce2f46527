//! Bodies of requests, as the Kafka door checks and decodes them: key, version, body.
//!
//! Beside panics: decoding takes no more memory than the check said before, whatever the input.

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use holdfast_kafka::codec::Api;

use super::{KIB, MIB, samples};
use crate::{Target, repair};

/// An input has room for as many elements as it has bytes, each of 512 bytes of memory at most.
const MEMORY_BYTES_MAX: usize = 2 * MIB + 256 * KIB;

pub(super) const TARGET: Target = Target {
    name: "kafka-requests",
    run,
    repair: repair::nothing,
    seeds,
    words: &[],
    input_bytes_max: 4 * KIB,
    memory_bytes_max: MEMORY_BYTES_MAX,
};

type Decode = fn(&Bytes, i16) -> Result<(), holdfast_kafka::codec::Error>;

fn seeds() -> Vec<Vec<u8>> {
    let seed = |sample: &samples::Sample| {
        [&sample.key.to_be_bytes()[..], &sample.version.to_be_bytes(), &sample.body].concat()
    };
    samples::all().iter().map(seed).collect()
}

fn decoders() -> &'static HashMap<(i16, i16), Decode> {
    static DECODERS: OnceLock<HashMap<(i16, i16), Decode>> = OnceLock::new();
    DECODERS.get_or_init(|| {
        let of = |sample: samples::Sample| ((sample.key, sample.version), sample.decode);
        samples::all().into_iter().map(of).collect()
    })
}

fn run(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<4>() else {
        return;
    };
    let key = i16::from_be_bytes([head[0], head[1]]);
    let version = i16::from_be_bytes([head[2], head[3]]);
    let Ok(api) = Api::of(key) else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    if api.check(version, &body).is_ok()
        && let Some(decode) = decoders().get(&(key, version))
    {
        let _ = decode(&body, version);
    }
}
