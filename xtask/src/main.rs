//! Every chore of the project, so that a newcomer needs `cargo` and nothing else.
//!
//! One noun per file. What a chore needs it sets up itself; what it cannot set up it says, with the command to run.

mod bench;
mod browser;
mod cargo;
mod guest;
mod installer;
mod kernel;
mod monitoring;
mod packaging;
mod prove;
mod setup;
mod test;
mod windows;
mod wine;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  test [SUBSET...]   set up what is missing and run the tests; without a subset all of them
  bench engine       nanoseconds and instructions that the engine takes for an event
  bench daemon       how the daemon answers under load, and how it ends
  guest [WORD...]    only the real-input cases whose name contains one of the words
  wine [WORD...]     only the cases under Wine whose name contains one of the words
  dist [PART]        build what is shipped for Windows, or a part of it: windows (the program), msi (the installer),
                     zip (the archive); with `--twice` again, to compare; with `--program FILE` of that program, such
                     as a signed one, instead of building it
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", subsets @ ..] => test::run(subsets),
        ["bench", "engine"] => bench::engine(),
        ["bench", "daemon"] => bench::daemon(),
        ["guest", words @ ..] => say(guest::run(words)),
        ["wine", words @ ..] => say(windows::cases(words)),
        ["dist", rest @ ..] if let Some(dist) = windows::Dist::parse(rest) => say(windows::dist(dist)),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}\nSubsets of the tests:\n{}", test::list());
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}\nSubsets of the tests:\n{}", test::list());
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints how a chore ended that is no subset; true if it did not fail.
fn say(result: anyhow::Result<test::Outcome>) -> anyhow::Result<bool> {
    let verdict = test::Verdict::of(result);
    println!("{verdict}");
    Ok(!verdict.is_failure())
}
