//! The custom resources of holdfast.dev, their schema, defaults and rules.
