//! Dependencies point down only: keyrx to config and platform, those to engine, and engine to nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::process::Command;

use serde_json::Value;

/// Our crates, and which of them each may use.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("keyrx", &["keyrx-config", "keyrx-engine", "keyrx-platform"]),
    ("keyrx-config", &["keyrx-engine"]),
    ("keyrx-platform", &["keyrx-engine"]),
    ("keyrx-engine", &[]),
];

#[test]
fn dependencies_point_down() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--manifest-path", manifest];
    let metadata = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    for (name, allowed) in ALLOWED {
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap();
        let normal = dependencies.iter().filter(|it| it["kind"].is_null());
        let names = normal.map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>();
        for dependency in &names {
            let is_ours = dependency.starts_with("keyrx");
            assert!(!is_ours || allowed.contains(dependency), "{name} must not use {dependency}");
        }
        assert!(name != "keyrx-engine" || names.is_empty(), "the engine uses {names:?}");
    }
}
