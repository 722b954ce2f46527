//! Configuration as Kafka's clients name, set and read it.

pub(crate) mod broker;
pub(crate) mod topic;

use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use kafka_protocol::protocol::StrBytes;

/// The type of a value, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

impl Type {
    /// Whether `value` is one of this type.
    fn admits(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
            Self::String | Self::List => true,
            Self::Int => value.trim().parse::<i32>().is_ok(),
            Self::Long => value.trim().parse::<i64>().is_ok(),
            Self::Double => value.trim().parse::<f64>().is_ok_and(f64::is_finite),
        }
    }
}

/// Where a value comes from, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Source {
    Topic = 1,
    /// Of the broker: here, of the policy.
    Broker = 4,
    Default = 5,
}

/// One value, as clients are shown it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: Source,
    pub(crate) kind: Type,
    pub(crate) read_only: bool,
    /// What counts where the topic says nothing.
    pub(crate) fallback: Option<Fallback>,
}

/// A value under its name of the broker's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Fallback {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// What a client is told besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detail {
    /// Whether it wants the values that the present one hides.
    pub(crate) synonyms: bool,
    /// Whether it understands types.
    pub(crate) types: bool,
}

impl Entry {
    pub(crate) fn into_wire(self, detail: Detail) -> DescribeConfigsResourceResult {
        let mut answer = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(self.name))
            .with_read_only(self.read_only)
            .with_config_source(self.source as i8);
        if detail.types {
            answer.config_type = self.kind as i8;
        }
        if detail.synonyms {
            answer.synonyms = self.synonyms();
        }
        answer.value = Some(StrBytes::from_string(self.value));
        answer
    }

    fn synonyms(&self) -> Vec<DescribeConfigsSynonym> {
        let synonym = |name, value: &str, source: Source| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value.to_owned())))
                .with_source(source as i8)
        };
        let mut synonyms = Vec::new();
        if self.source != Source::Default || self.fallback.is_none() {
            synonyms.push(synonym(self.name, &self.value, self.source));
        }
        if let Some(fallback) = &self.fallback {
            synonyms.push(synonym(fallback.name, &fallback.value, Source::Default));
        }
        synonyms
    }
}
