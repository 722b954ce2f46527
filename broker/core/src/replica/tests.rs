//! See the table tests below.
