//! What a `Probe` sees come out of keyrx.

use keyrx_engine::{Key, Motion};

/// A key that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub key: Key,
    /// What it did.
    pub motion: Motion,
    /// Whether it is the key that went in, let through, and not one that keyrx has sent.
    pub is_native: bool,
}
