//! keyrx on a real kernel: keyboards are plugged in and typed on, and what the desktop sees is compared.
//!
//! This is `/init` of the guest that `cargo xtask test linux` boots. Each case stands alone: it plugs in its keyboards,
//! writes its keymap, starts the release binary and judges what comes out. The name of a case says what holds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test program: failing loudly is its job"
)]

mod cases;
mod daemon;
mod desktop;
mod keyboard;
mod keycodes;
mod scene;
mod time;
mod web;

use std::any::Any;
use std::cell::RefCell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use cases::Case;
use scene::{Disturbed, Scene};
use time::Clock;

/// How often a case is tried when the machine was too busy to type in time.
const TRIES: u32 = 5;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("This is /init of a guest: run `cargo xtask test linux`.");
        return ExitCode::from(2);
    }
    mount_all();
    web::bring_loopback_up();
    let clock = match std::env::args().nth(1).as_deref() {
        Some("virtual") => Clock::Virtual,
        _ => Clock::Real,
    };
    run(clock);
    let _ = reboot(RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}

fn mount_all() {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| panic!("mounting {place}: {error}"));
    }
}

/// Runs the cases that are asked for and closes with the counts.
fn run(clock: Clock) {
    let words = fs::read_to_string("/words").unwrap_or_default();
    let wanted = |case: &&Case| {
        case.clocks.include(clock) && (words.is_empty() || words.lines().any(|word| case.name.contains(word)))
    };
    panic::set_hook(Box::new(|info| PLACE.set(info.location().map(ToString::to_string).unwrap_or_default())));
    let (mut passed, mut failed) = (0, 0);
    for case in cases::all().filter(wanted) {
        fs::write("/running", case.name).unwrap();
        let begin = Instant::now();
        let result = attempt(case, clock);
        let took = begin.elapsed().as_millis();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok     {} ({took} ms)", case.name);
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {} ({took} ms)\n{why}", case.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
}

thread_local! {
    /// Where the last failure happened.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs one case; an error is what a reader of the report needs.
fn attempt(case: &Case, clock: Clock) -> Result<(), String> {
    for _ in 0..TRIES {
        let mut scene = Scene::new(clock);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            (case.run)(&mut scene);
            scene.close();
        }));
        match outcome {
            Ok(()) => return Ok(()),
            Err(cause) if cause.is::<Disturbed>() => {}
            Err(cause) => {
                let text = format!("{}\nat {}\nkeyrx said:\n{}", message(&*cause), PLACE.take(), scene.log());
                return Err(text.lines().map(|line| format!("       {line}\n")).collect());
            }
        }
    }
    Err(format!("       the machine was too busy to type in time, {TRIES} times"))
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
