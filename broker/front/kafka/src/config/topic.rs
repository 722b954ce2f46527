//! The configuration of a topic: what is applied, what is taken and has no effect, and what is
//! refused because taking it would promise something that is not kept.

use holdfast_protocol::topic::{Cleanup, TopicConfig};
use holdfast_service::ClusterView;

use super::{Entry, Fallback, Source, Type};

/// What is kept in the catalog and applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    CleanupPolicy,
    MaxMessageBytes,
    RetentionBytes,
    RetentionMs,
}

/// Name, type, name of the broker's default.
const APPLIED: [(Applied, &str, Type, &str); 4] = [
    (Applied::CleanupPolicy, "cleanup.policy", Type::List, "log.cleanup.policy"),
    (Applied::MaxMessageBytes, "max.message.bytes", Type::Int, "message.max.bytes"),
    (Applied::RetentionBytes, "retention.bytes", Type::Long, "log.retention.bytes"),
    (Applied::RetentionMs, "retention.ms", Type::Long, "log.retention.ms"),
];

/// The policy's, for all topics: a topic may ask for no more than that.
const MIN_IN_SYNC: &str = "min.insync.replicas";

/// Known to Kafka, and taken only with the value that describes what is done here.
const FIXED: [(&str, Type, &str); 2] = [
    ("message.timestamp.type", Type::String, "CreateTime"),
    ("remote.storage.enable", Type::Boolean, "false"),
];

/// Known to Kafka, taken with any value of the type, and without effect. None of these can make
/// a message less safe: they tune Kafka's segments, flushes, compaction and quotas, which here
/// are the policy's.
const IGNORED: [(&str, Type, &str); 26] = [
    ("compression.gzip.level", Type::Int, "-1"),
    ("compression.lz4.level", Type::Int, "9"),
    ("compression.type", Type::String, "producer"),
    ("compression.zstd.level", Type::Int, "3"),
    ("delete.retention.ms", Type::Long, "86400000"),
    ("file.delete.delay.ms", Type::Long, "60000"),
    ("flush.messages", Type::Long, "9223372036854775807"),
    ("flush.ms", Type::Long, "9223372036854775807"),
    ("follower.replication.throttled.replicas", Type::List, ""),
    ("index.interval.bytes", Type::Int, "4096"),
    ("leader.replication.throttled.replicas", Type::List, ""),
    ("local.retention.bytes", Type::Long, "-2"),
    ("local.retention.ms", Type::Long, "-2"),
    ("max.compaction.lag.ms", Type::Long, "9223372036854775807"),
    ("message.downconversion.enable", Type::Boolean, "true"),
    ("message.format.version", Type::String, "3.0-IV1"),
    ("message.timestamp.after.max.ms", Type::Long, "9223372036854775807"),
    ("message.timestamp.before.max.ms", Type::Long, "9223372036854775807"),
    ("message.timestamp.difference.max.ms", Type::Long, "9223372036854775807"),
    ("min.cleanable.dirty.ratio", Type::Double, "0.5"),
    ("min.compaction.lag.ms", Type::Long, "0"),
    ("preallocate", Type::Boolean, "false"),
    ("segment.bytes", Type::Int, "1073741824"),
    ("segment.index.bytes", Type::Int, "10485760"),
    ("segment.ms", Type::Long, "604800000"),
    ("unclean.leader.election.enable", Type::Boolean, "false"),
];

/// Why a value is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Kafka does not know the name either.
    #[error("unknown topic config name: {0}")]
    Unknown(String),
    /// There is nothing to append to or subtract from.
    #[error("`{0}` is not a list")]
    NotAList(String),
    /// The value can't be taken.
    #[error("invalid value {value} for configuration {name}: {reason}")]
    Value {
        /// Name of the configuration.
        name: String,
        /// As asked.
        value: String,
        /// What is taken instead.
        reason: String,
    },
}

/// What to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Take this one.
    Set(&'a str),
    /// Go back to the default.
    Reset,
    /// Add to a list.
    Append(&'a str),
    /// Take out of a list.
    Subtract(&'a str),
}

/// Makes one change.
///
/// # Errors
/// [`Error`]; `config` is as it was then.
pub(crate) fn change(
    config: &mut TopicConfig,
    cluster: &ClusterView,
    name: &str,
    change: Change<'_>,
) -> Result<(), Error> {
    let applied = APPLIED.iter().find(|(_, known, ..)| *known == name);
    if let Some((applied, _, kind, _)) = applied {
        let list = || list_of(*applied, *kind, config, name);
        let value = match change {
            Change::Set(value) => value.trim().to_owned(),
            Change::Reset => current(*applied, &crate::topics::defaults(cluster)),
            Change::Append(value) => with(list()?, value),
            Change::Subtract(value) => without(list()?, value),
        };
        return apply(config, *applied, &value).map_err(|reason| Error::Value {
            name: name.to_owned(),
            value,
            reason,
        });
    }
    match change {
        Change::Set(value) => admit(cluster, name, value),
        Change::Append(_) | Change::Subtract(_) if kind_of(name)? != Type::List => {
            Err(Error::NotAList(name.to_owned()))
        }
        Change::Append(_) | Change::Subtract(_) | Change::Reset => kind_of(name).map(|_| ()),
    }
}

fn list_of(
    applied: Applied,
    kind: Type,
    config: &TopicConfig,
    name: &str,
) -> Result<Vec<String>, Error> {
    if kind != Type::List {
        return Err(Error::NotAList(name.to_owned()));
    }
    let value = current(applied, config);
    Ok(value.split(',').map(|part| part.trim().to_owned()).collect())
}

fn with(mut list: Vec<String>, value: &str) -> String {
    for part in value.split(',').map(str::trim) {
        if !list.iter().any(|have| have == part) {
            list.push(part.to_owned());
        }
    }
    list.join(",")
}

fn without(mut list: Vec<String>, value: &str) -> String {
    list.retain(|have| value.split(',').all(|part| part.trim() != have));
    list.join(",")
}

/// The type of a configuration that is not applied.
fn kind_of(name: &str) -> Result<Type, Error> {
    if name == MIN_IN_SYNC {
        return Ok(Type::Int);
    }
    let known = FIXED.iter().chain(&IGNORED).find(|known| known.0 == name);
    let known = known.ok_or_else(|| Error::Unknown(name.chars().take(256).collect()))?;
    Ok(known.1)
}

/// Takes a value without effect, if it may be taken.
fn admit(cluster: &ClusterView, name: &str, value: &str) -> Result<(), Error> {
    let refuse = |reason: String| Error::Value {
        name: name.to_owned(),
        value: value.chars().take(256).collect(),
        reason,
    };
    let kind = kind_of(name)?;
    if !kind.admits(value) {
        return Err(refuse(format!("it is not of the type {kind:?}")));
    }
    if name == MIN_IN_SYNC {
        let most = cluster.min_in_sync_replicas;
        let asked: u32 = value.trim().parse().unwrap_or(0);
        return if (1..=most).contains(&asked) {
            Ok(())
        } else {
            let reason = format!("the policy keeps {most} for all topics; use 1 to {most}");
            Err(refuse(reason))
        };
    }
    match FIXED.iter().find(|(fixed, ..)| *fixed == name) {
        Some((.., only)) if !value.trim().eq_ignore_ascii_case(only) => {
            Err(refuse(format!("only {only} is served")))
        }
        _ => Ok(()),
    }
}

fn apply(config: &mut TopicConfig, applied: Applied, value: &str) -> Result<(), String> {
    match applied {
        Applied::CleanupPolicy => {
            let mut parts: Vec<&str> = value.split(',').map(str::trim).collect();
            parts.sort_unstable();
            config.cleanup = match parts.as_slice() {
                ["delete"] => Cleanup::Delete,
                // Nothing would ever go from such a topic.
                ["compact"] => return Err("compaction is not built yet; use delete".to_owned()),
                ["compact", "delete"] => Cleanup::CompactDelete,
                _ => return Err("use delete, or both delete and compact".to_owned()),
            };
        }
        Applied::MaxMessageBytes => {
            let most = TopicConfig::MESSAGE_BYTES_MAX;
            config.message_bytes_max = value
                .parse()
                .ok()
                .filter(|bytes| (1..=most).contains(bytes))
                .ok_or_else(|| format!("use 1 to {most}"))?;
        }
        Applied::RetentionBytes => config.retention_bytes = at_least_or_none(value)?,
        Applied::RetentionMs => config.retention_ms = at_least_or_none(value)?,
    }
    Ok(())
}

fn at_least_or_none(value: &str) -> Result<Option<u64>, String> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(bound) if bound >= 0 => Ok(Some(bound.unsigned_abs())),
        Ok(_) | Err(_) => Err("use a number from 0, or -1 for no bound".to_owned()),
    }
}

fn current(applied: Applied, config: &TopicConfig) -> String {
    let or_none = |bound: Option<u64>| bound.map_or("-1".to_owned(), |bound| bound.to_string());
    match applied {
        Applied::CleanupPolicy => match config.cleanup {
            Cleanup::Delete => "delete".to_owned(),
            Cleanup::Compact => "compact".to_owned(),
            Cleanup::CompactDelete => "compact,delete".to_owned(),
        },
        Applied::MaxMessageBytes => config.message_bytes_max.to_string(),
        Applied::RetentionBytes => or_none(config.retention_bytes),
        Applied::RetentionMs => or_none(config.retention_ms),
    }
}

/// Everything that there is to tell of a topic's configuration, by name.
pub(crate) fn describe(config: &TopicConfig, cluster: &ClusterView) -> Vec<Entry> {
    let defaults = TopicConfig::default();
    let applied = APPLIED.iter().map(|(applied, name, kind, broker_name)| {
        let value = current(*applied, config);
        let default = current(*applied, &defaults);
        Entry {
            name,
            source: if value == default { Source::Default } else { Source::Topic },
            value,
            kind: *kind,
            read_only: false,
            fallback: Some(Fallback { name: broker_name, value: default }),
        }
    });
    let unapplied = FIXED.iter().chain(&IGNORED).map(|(name, kind, value)| Entry {
        name,
        value: (*value).to_owned(),
        source: Source::Default,
        kind: *kind,
        read_only: false,
        fallback: None,
    });
    let min_in_sync = Entry {
        name: MIN_IN_SYNC,
        value: cluster.min_in_sync_replicas.to_string(),
        source: Source::Broker,
        kind: Type::Int,
        read_only: false,
        fallback: None,
    };
    let mut entries: Vec<Entry> = applied.chain(unapplied).collect();
    entries.push(min_in_sync);
    entries.sort_by_key(|entry| entry.name);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, to: Change<'_>) -> Result<TopicConfig, Error> {
        let cluster = ClusterView { min_in_sync_replicas: 2, ..ClusterView::default() };
        let mut config = TopicConfig::default();
        change(&mut config, &cluster, name, to).map(|()| config)
    }

    #[test]
    fn what_is_applied_is_kept() {
        let set = |name, value| changed(name, Change::Set(value)).unwrap();
        assert_eq!(set("retention.ms", "5").retention_ms, Some(5));
        assert_eq!(set("retention.ms", "-1").retention_ms, None);
        assert_eq!(set("retention.bytes", "7").retention_bytes, Some(7));
        assert_eq!(set("max.message.bytes", "99").message_bytes_max, 99);
        assert_eq!(set("cleanup.policy", "delete").cleanup, Cleanup::Delete);
        let both = changed("cleanup.policy", Change::Append("compact")).unwrap();
        assert_eq!(both.cleanup, Cleanup::CompactDelete);
    }

    #[test]
    fn what_would_not_be_kept_is_refused() {
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("cleanup.policy", "burn"),
            ("cleanup.policy", "compact"),
            ("max.message.bytes", "0"),
            ("min.insync.replicas", "3"),
            ("message.timestamp.type", "LogAppendTime"),
            ("segment.bytes", "big"),
            ("dummy.doesntexist", "x"),
        ] {
            assert!(changed(name, Change::Set(value)).is_err(), "{name}={value}");
        }
        assert!(changed("retention.ms", Change::Append("1")).is_err());
        assert!(changed("cleanup.policy", Change::Subtract("delete")).is_err());
    }

    #[test]
    fn what_can_do_no_harm_is_taken() {
        for (name, value) in [
            ("min.insync.replicas", "1"),
            ("message.timestamp.type", "CreateTime"),
            ("compression.type", "lz4"),
            ("flush.ms", "12345678"),
        ] {
            let config = changed(name, Change::Set(value)).unwrap();
            assert_eq!(config, TopicConfig::default());
        }
    }
}
