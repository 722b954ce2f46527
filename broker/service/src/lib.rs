//! What a protocol door may ask of the broker behind it.
