//! `keyrx check`: what is wrong with a keymap.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use keyrx_config::{Diagnostic, Severity};

use crate::cli::Exit;

/// The system that a keymap is to run on.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum System {
    Linux,
    Windows,
}

impl System {
    /// The one we run on.
    fn here() -> System {
        if std::env::consts::OS == "windows" { System::Windows } else { System::Linux }
    }
}

pub fn check(keymap: &Path, system: Option<System>, json: bool) -> Result<Exit> {
    let mut loaded = keyrx_config::load(keymap);
    if system.unwrap_or(System::here()) == System::Windows {
        loaded.diagnostics.append(&mut loaded.on_windows);
    }
    let is_ok = loaded.keymap.is_some();
    let mut out = std::io::stdout().lock();
    if json {
        let report =
            serde_json::json!({ "ok": is_ok, "files": loaded.files, "diagnostics": loaded.diagnostics });
        writeln!(out, "{report:#}")?;
    } else {
        for diagnostic in &loaded.diagnostics {
            writeln!(out, "{diagnostic}")?;
        }
        writeln!(out, "{}: {}", keymap.display(), summary(&loaded.diagnostics))?;
    }
    Ok(if is_ok { Exit::Ok } else { Exit::BadInput })
}

/// How many errors and warnings there are, in words.
fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let plural = |count, one| match count {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    format!("{}, {}", plural(count(Severity::Error), "error"), plural(count(Severity::Warning), "warning"))
}
