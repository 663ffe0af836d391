//! keyrx-config
