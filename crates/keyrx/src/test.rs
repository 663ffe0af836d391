//! `keyrx test`: scenarios played, and what came out compared with what must come out.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keyrx_config::Severity;
use keyrx_engine::notation::{self, Moment};

use crate::cli::Exit;
use crate::scenario::{Case, ScenarioError, Scenarios};
use crate::simulate;

/// What there is to say about a case that fails, or about a file that cannot be read.
struct Failure {
    file: PathBuf,
    line: usize,
    case: String,
    message: String,
}

pub fn test(paths: &[PathBuf], json: bool) -> Result<Exit> {
    let mut files = Vec::new();
    for path in paths {
        if let Err(error) = find(path, &mut files) {
            eprintln!("keyrx: cannot read {}: {error}", path.display());
            return Ok(Exit::BadInput);
        }
    }
    if files.is_empty() {
        eprintln!("keyrx: there is no *.keytest file under the given paths");
        return Ok(Exit::BadInput);
    }
    let mut out = std::io::stdout().lock();
    let (mut passed, mut failures) = (0_usize, Vec::new());
    for file in &files {
        let found = match Scenarios::read(file) {
            Ok(scenarios) => {
                let found = play(&scenarios)?;
                passed = passed.saturating_add(scenarios.cases.len().saturating_sub(found.len()));
                found
            }
            Err(errors) => {
                let failure = |error: ScenarioError| Failure {
                    file: error.path,
                    line: error.line,
                    case: String::new(),
                    message: error.message,
                };
                errors.into_iter().map(failure).collect()
            }
        };
        if !json {
            for Failure { file, line, case, message } in &found {
                let colon = if case.is_empty() { "" } else { ":" };
                writeln!(out, "FAILED {}:{line}: {case}{colon}\n{message}", file.display())?;
            }
        }
        failures.extend(found);
    }
    if json {
        let failures = failures.iter().map(|Failure { file, line, case, message }| {
            serde_json::json!({ "file": file, "line": line, "case": case, "message": message })
        });
        let failures = failures.collect::<Vec<_>>();
        let report = serde_json::json!({ "passed": passed, "failed": failures.len(), "failures": failures });
        writeln!(out, "{report:#}")?;
    } else {
        writeln!(out, "{passed} passed, {} failed", failures.len())?;
    }
    Ok(if failures.is_empty() { Exit::Ok } else { Exit::BadInput })
}

/// The scenario files at or under `path`, in the order of their names.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        std::fs::metadata(path)?;
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        // A link to a directory may lead back here.
        let is_directory = entry.is_dir() && !entry.is_symlink();
        if is_directory || (entry.is_file() && entry.extension().is_some_and(|it| it == "keytest")) {
            find(&entry, files)?;
        }
    }
    Ok(())
}

/// Plays every case; returns what there is to say about those that fail.
fn play(scenarios: &Scenarios) -> Result<Vec<Failure>> {
    let mut failures = Vec::new();
    let mut told = None;
    for case in &scenarios.cases {
        let keymap = scenarios.keymaps.get(case.keymap).context("a case has no keymap")?;
        let loaded = keymap.load(&scenarios.path);
        let message = match loaded.keymap {
            Some(keymap) => {
                let effects = simulate::play(keymap, &case.input)?;
                let found = effects.into_iter().map(Moment::from).collect::<Vec<_>>();
                difference(case, &found)
            }
            // Once for all cases of the keymap.
            None if told.replace(case.keymap) == Some(case.keymap) => {
                Some("  its keymap cannot be used\n".into())
            }
            None => {
                let errors = loaded.diagnostics.iter().filter(|it| it.severity == Severity::Error);
                let errors = errors.map(ToString::to_string).collect::<String>();
                Some(format!("  its keymap cannot be used\n{errors}"))
            }
        };
        failures.extend(message.map(|message| {
            let (file, case, line) = (scenarios.path.clone(), case.name.clone(), case.line);
            Failure { file, line, case, message }
        }));
    }
    Ok(failures)
}

/// The first place at which a case and what came out differ, in the notation.
fn difference(case: &Case, found: &[Moment]) -> Option<String> {
    let expected = &case.expected;
    let place =
        (0..expected.len().max(found.len())).find(|place| expected.get(*place) != found.get(*place))?;
    let show = |moments: &[Moment]| match moments.get(place) {
        Some(moment) => notation::print([*moment]),
        None => "nothing more".into(),
    };
    Some(format!(
        "  expected  {}\n  got       {}\n  first difference: expected {}, got {} (effect {})\n",
        notation::print(expected.iter().copied()),
        notation::print(found.iter().copied()),
        show(expected),
        show(found),
        place.saturating_add(1),
    ))
}
