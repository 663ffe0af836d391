//! The link proof: that `Engine::step` can neither panic nor allocate, and that the proof can fail.
//!
//! See `tests/no-panic`. What counts is the linker's word, so the build's output is kept and only shown when the
//! word is not the expected one.

use std::process::Output;

use anyhow::{Result, ensure};

use crate::cargo;
use crate::test::Outcome;

/// What the linker misses when something is reachable that must not be.
const REACHABLE: &str = "undefined symbol: keyrx_panic_is_reachable";

pub fn run() -> Result<Outcome> {
    let proof = build(None)?;
    ensure!(proof.status.success(), "a panic or an allocation is reachable:\n{}", said(&proof));
    println!("Engine::step links: no panic and no allocation is reachable");
    for plant in ["plant_panic", "plant_allocation"] {
        let planted = build(Some(plant))?;
        let is_refused = !planted.status.success() && said(&planted).contains(REACHABLE);
        ensure!(
            is_refused,
            "{plant}: the proof holds no longer, for this had to be refused:\n{}",
            said(&planted)
        );
        println!("{plant}: does not link, as it must not");
    }
    println!("3 passed, 0 failed");
    Ok(Outcome::Passed)
}

/// Builds the proof, with something planted.
fn build(plant: Option<&str>) -> Result<Output> {
    let mut flags = String::from("-C link-arg=-nostartfiles -C link-arg=-Wl,-z,defs");
    if let Some(plant) = plant {
        flags.push_str(&format!(" --cfg {plant}"));
    }
    let target = cargo::target().join("no-panic");
    let mut command = cargo::command(&["build", "--release", "--manifest-path", "tests/no-panic/Cargo.toml"]);
    command.arg("--target-dir").arg(target).env("RUSTFLAGS", flags);
    Ok(command.output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
