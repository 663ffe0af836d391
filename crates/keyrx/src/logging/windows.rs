//! Consoles of Windows.

/// Whether a console shows colours. An older one has to be asked for it, which is done here.
pub fn has_colours() -> bool {
    crossterm::ansi_support::supports_ansi()
}
