//! What several tests need.

use std::fs;
use std::path::PathBuf;

/// An empty directory of one test's own.
pub fn directory(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keyrx-test-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}
