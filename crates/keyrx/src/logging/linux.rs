//! Terminals of Linux.

/// Whether a terminal shows colours.
pub fn has_colours() -> bool {
    true
}
