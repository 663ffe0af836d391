//! The cases, by what they are about, and how they are run.

mod burst;
mod commands;
mod crashes;
mod event_log;
mod faults;
mod guard;
mod harness;
mod installer;
mod keys;
mod modifiers;
mod others;
mod regressions;
mod reload;
mod service;
mod tray;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use super::scene::{Late, Scene};
use super::unix;

/// How often a case is tried whose failure may be the machine's: keys were typed late, or came late.
const TRIES: u32 = 5;

/// Something that holds of keyrx on Windows.
pub struct Case {
    /// What holds, in words.
    pub name: &'static str,
    pub run: fn(&mut Scene),
}

fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [
        harness::CASES,
        keys::CASES,
        modifiers::CASES,
        others::CASES,
        burst::CASES,
        reload::CASES,
        faults::CASES,
        guard::CASES,
        regressions::CASES,
        commands::CASES,
        event_log::CASES,
        crashes::CASES,
        tray::CASES,
        service::CASES,
        installer::CASES,
    ];
    groups.into_iter().flatten()
}

/// Runs the cases that are asked for and closes with the counts.
pub fn run(keyrx: &Path, words: &[&str]) -> ExitCode {
    if !unix::is_below() {
        eprintln!("Only under Wine: every key there is gets pressed, Sleep and Power among them.");
        return ExitCode::from(2);
    }
    panic::set_hook(Box::new(|info| {
        *PLACE.lock().unwrap() = info.location().map(ToString::to_string).unwrap_or_default();
    }));
    let (mut passed, mut failed) = (0, 0);
    for case in all().filter(|case| words.is_empty() || words.iter().any(|word| case.name.contains(word))) {
        let begin = Instant::now();
        let result = attempt(case, keyrx);
        let took = begin.elapsed().as_millis();
        match result {
            Ok(tries) => {
                passed += 1;
                let tries = if tries > 1 { format!(", try {tries}") } else { String::new() };
                println!("ok     {} ({took} ms{tries})", case.name);
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {} ({took} ms)\n{why}", case.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the last failure happened.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Runs one case until it passes, or fails for a reason other than time: how often it was tried. An error is what a
/// reader of the report needs.
fn attempt(case: &Case, keyrx: &Path) -> Result<u32, String> {
    let mut number = 0;
    loop {
        number += 1;
        let mut scene = None;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let scene = scene.insert(Scene::new(keyrx));
            (case.run)(scene);
            scene.close();
        }));
        let Err(cause) = outcome else { return Ok(number) };
        let was_late = scene.as_ref().is_some_and(Scene::was_late) || cause.is::<Late>();
        if was_late && number < TRIES {
            continue;
        }
        let log = scene.as_mut().map(|scene| scene.log().to_owned()).unwrap_or_default();
        let place = PLACE.lock().unwrap();
        let text = format!("{}\nat {place}, try {number}\nkeyrx said:\n{log}", message(&*cause));
        return Err(text.lines().map(|line| format!("       {line}\n")).collect());
    }
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text =
        cause.downcast_ref::<Late>().map(|Late(text)| text).or(cause.downcast_ref::<String>()).cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
