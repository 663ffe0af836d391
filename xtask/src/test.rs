//! The tests, by subset. `SUBSETS` is the list: a new kind of test is a row there.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::setup::{self, Packages};
use crate::{browser, cargo, guest, monitoring, packaging, prove, windows};

/// How a subset ended when it did not fail.
pub enum Outcome {
    /// All that it holds was checked.
    Passed,
    /// It cannot be had here: why.
    Skipped(String),
    /// Set-up is missing that we may not do here: what to do. On a CI machine that is a failure.
    Unprepared(String),
}

struct Subset {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Outcome>,
}

const SUBSETS: &[Subset] = &[
    Subset { name: "format", about: "the sources are formatted", run: format },
    Subset { name: "lint", about: "clippy finds nothing", run: lint },
    Subset { name: "unit", about: "unit, property and documentation tests", run: unit },
    Subset { name: "scenario", about: "keys in, keys out: all keymaps and scenarios", run: scenario },
    Subset { name: "proof", about: "the engine can neither panic nor allocate", run: prove::run },
    Subset { name: "deny", about: "licences and sources of the dependencies", run: deny },
    Subset { name: "advisories", about: "known weaknesses of the dependencies", run: advisories },
    Subset { name: "monitoring", about: "real Prometheus reads the metrics", run: monitoring::run },
    Subset { name: "browser", about: "the page, in a real browser", run: browser::run },
    Subset { name: "packaging", about: "what is installed for systemd", run: packaging::test },
    Subset { name: "linux", about: "real keyboards on a real kernel, in a guest", run: linux },
    Subset { name: "windows", about: "the program for Windows, under Wine", run: windows::test },
];

fn format() -> Result<Outcome> {
    cargo::run(&["fmt", "--all", "--check"])?;
    Ok(Outcome::Passed)
}

fn lint() -> Result<Outcome> {
    cargo::run(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    Ok(Outcome::Passed)
}

fn unit() -> Result<Outcome> {
    if let Packages::Missing(command) = setup::debian(&["dbus"])? {
        return Ok(Outcome::Unprepared(format!("please run: {command}")));
    }
    if cargo::has("nextest") {
        cargo::run(&["nextest", "run", "--workspace", "--no-fail-fast"])?;
    } else {
        cargo::run(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])?;
    }
    cargo::run(&["test", "--workspace", "--doc"])?;
    Ok(Outcome::Passed)
}

fn scenario() -> Result<Outcome> {
    cargo::run(&[
        "run",
        "--release",
        "--package",
        "keyrx",
        "--",
        "test",
        "keymaps",
        "crates/keyrx/tests/scenarios",
    ])?;
    Ok(Outcome::Passed)
}

fn deny() -> Result<Outcome> {
    cargo::run_tool(&cargo::tool("cargo-deny")?, &["check", "bans", "licenses", "sources"])?;
    Ok(Outcome::Passed)
}

fn advisories() -> Result<Outcome> {
    let deny = cargo::tool("cargo-deny")?;
    if cargo::run_tool(&deny, &["fetch", "db"]).is_err() {
        return Ok(Outcome::Skipped("no advisory database can be reached".into()));
    }
    cargo::run_tool(&deny, &["check", "advisories"])?;
    Ok(Outcome::Passed)
}

fn linux() -> Result<Outcome> {
    guest::run(&[])
}

/// The names of the subsets and what they hold, a line each.
pub fn list() -> String {
    let line = |Subset { name, about, .. }: &Subset| format!("  {name:<10} {about}\n");
    SUBSETS.iter().map(line).collect()
}

/// Runs subsets one after the other, goes on after a failure, and closes with a table and the counts.
pub fn run(names: &[&str]) -> Result<bool> {
    let mut chosen: Vec<&Subset> = Vec::new();
    for name in names {
        let subset = SUBSETS.iter().find(|subset| subset.name == *name);
        chosen.push(subset.with_context(|| format!("no subset {name:?}; there are\n{}", list()))?);
    }
    if chosen.is_empty() {
        chosen = SUBSETS.iter().collect();
    }
    let mut reports = Vec::new();
    for subset in chosen {
        println!("\n=== {}: {}", subset.name, subset.about);
        let begin = Instant::now();
        let verdict = Verdict::of((subset.run)());
        println!("=== {}: {verdict}", subset.name);
        reports.push((subset.name, verdict, begin.elapsed()));
    }
    Ok(close(&reports))
}

/// What is said of a subset in the end.
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Verdict {
    pub fn of(result: Result<Outcome>) -> Verdict {
        match result {
            Ok(Outcome::Passed) => Verdict::Passed,
            Ok(Outcome::Skipped(why)) => Verdict::Skipped(why),
            Ok(Outcome::Unprepared(why)) if setup::is_ci() => Verdict::Failed(why),
            Ok(Outcome::Unprepared(why)) => Verdict::Skipped(why),
            Err(error) => Verdict::Failed(format!("{error:#}")),
        }
    }

    pub fn is_failure(&self) -> bool {
        matches!(self, Verdict::Failed(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Passed => write!(out, "passed"),
            Verdict::Failed(why) => write!(out, "FAILED: {why}"),
            Verdict::Skipped(why) => write!(out, "SKIPPED: {why}"),
        }
    }
}

/// Prints the table and the counts; true if nothing failed.
fn close(reports: &[(&str, Verdict, Duration)]) -> bool {
    println!();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, verdict, took) in reports {
        println!("{name:<10} {:>6.1} s  {verdict}", took.as_secs_f32());
        match verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed(_) => failed += 1,
            Verdict::Skipped(_) => skipped += 1,
        }
    }
    match skipped {
        0 => println!("{passed} passed, {failed} failed"),
        _ => println!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
    failed == 0
}
