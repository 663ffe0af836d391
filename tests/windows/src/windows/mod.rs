//! The roles: `cases` starts the others, each of which can be started by hand as well.

mod cases;
mod chaos;
mod hook;
mod keyboard;
mod keycodes;
mod process;
mod receiver;
mod record;
mod scene;
mod service;
mod state;
mod system;
mod taskbar;
mod time;
mod unix;

use std::path::Path;
use std::process::ExitCode;

use keyrx_engine::Key;

const USAGE: &str = "\
Usage: keyrx-windows-tests <ROLE>

Roles:
  cases KEYRX [WORD...]  run the cases whose name contains one of the words, with this keyrx.exe
  keyboard [TEXT]        type a text in the scenario notation, or each line of the standard input
  receiver               a window that writes down every key it gets
  hook [FROM TO]         a low-level hook that writes down every key, and maps one
";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cases", keyrx, words @ ..] => return cases::run(Path::new(keyrx), words),
        ["keyboard"] => keyboard::serve(),
        ["keyboard", text] => drop(keyboard::type_text(text)),
        ["receiver"] => receiver::run(),
        ["hook"] => hook::run(None),
        ["hook", from, to] => {
            let key = |name| Key::from_name(name).unwrap_or_else(|| panic!("there is no key {name}"));
            hook::run(Some((key(from), key(to))));
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
