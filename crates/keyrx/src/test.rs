//! `keyrx test`: scenarios played, and what came out compared with what must come out.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keyrx_config::Severity;
use keyrx_engine::notation::{self, Moment};

use crate::cli::Exit;
use crate::scenario::{Case, Scenarios};
use crate::simulate;

pub fn test(paths: &[PathBuf]) -> Result<Exit> {
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
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for file in &files {
        let failures = match Scenarios::read(file) {
            Ok(scenarios) => {
                let failures = play(&scenarios)?;
                passed = passed.saturating_add(scenarios.cases.len().saturating_sub(failures.len()));
                failures
            }
            Err(errors) => vec![errors.iter().map(|error| format!("FAILED {error}\n")).collect()],
        };
        failed = failed.saturating_add(failures.len());
        for failure in failures {
            writeln!(out, "{failure}")?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::BadInput })
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
fn play(scenarios: &Scenarios) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let mut told = None;
    for case in &scenarios.cases {
        let keymap = scenarios.keymaps.get(case.keymap).context("a case has no keymap")?;
        let loaded = keymap.load(&scenarios.path);
        let head = format!("FAILED {}:{}: {}\n", scenarios.path.display(), case.line, case.name);
        let Some(keymap) = loaded.keymap else {
            // Once for all cases of the keymap.
            let mut failure = head + "  its keymap cannot be used\n";
            if told.replace(case.keymap) != Some(case.keymap) {
                let errors = loaded.diagnostics.iter().filter(|it| it.severity == Severity::Error);
                errors.for_each(|error| failure.push_str(&error.to_string()));
            }
            failures.push(failure);
            continue;
        };
        let effects = simulate::play(keymap, &case.input)?;
        let found = effects.into_iter().map(Moment::from).collect::<Vec<_>>();
        failures.extend(difference(case, &found).map(|difference| head + difference.as_str()));
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
