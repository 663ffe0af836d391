//! `keyrx doctor`: what is in the way of keyrx on this system, and what to do about it. It needs no running keyrx, and
//! asks one that runs.

use std::io::Write;

use anyhow::Result;
use keyrx_platform::{State, native};

use crate::cli::Exit;
use crate::client;
use crate::paths::{Directories, Paths};

pub fn doctor(directories: &Directories, json: bool) -> Result<Exit> {
    let mut findings = native::examine();
    findings.push(client::finding(&Paths::of(directories)));
    let mut out = std::io::stdout().lock();
    if json {
        let as_json = |finding: &keyrx_platform::Finding| {
            serde_json::json!({
                "about": finding.about,
                "state": word(finding.state),
                "is": finding.is,
                "means": finding.means,
            })
        };
        let findings = findings.iter().map(as_json).collect::<Vec<_>>();
        writeln!(out, "{:#}", serde_json::json!({ "findings": findings }))?;
    } else {
        for finding in &findings {
            writeln!(out, "{:<8}{}", word(finding.state), finding.is)?;
            for line in finding.means.lines() {
                writeln!(out, "        {line}")?;
            }
        }
    }
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if is_bad { Exit::NotPermitted } else { Exit::Ok })
}

fn word(state: State) -> &'static str {
    match state {
        State::Good => "ok",
        State::Notice => "notice",
        State::Bad => "bad",
    }
}
