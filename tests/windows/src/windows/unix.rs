//! Wine's processes as the Linux below sees them.
//!
//! `GenerateConsoleCtrlEvent` fails under Wine 8, but a SIGINT reaches the console handlers of a process as Ctrl+C.

use std::fs;
use std::process::Command;

/// Whether there is one: whether this is Wine.
pub fn is_below() -> bool {
    fs::exists(r"Z:\proc\version").is_ok_and(|exists| exists)
}

/// Presses Ctrl+C for the process in whose command line these words stand.
pub fn interrupt(words: &str) {
    let process = find(words).unwrap_or_else(|| panic!("no process with {words:?} on the Linux below"));
    let kill = ["/wait", "/unix", "/bin/kill", "-INT", &process];
    let status = Command::new(r"C:\windows\system32\start.exe").args(kill).status().unwrap();
    assert!(status.success(), "kill -INT {process}: {status}");
}

fn find(words: &str) -> Option<String> {
    let processes = fs::read_dir(r"Z:\proc").expect("Wine's drive Z");
    processes.flatten().find_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(words).then(|| process.file_name().to_string_lossy().into_owned())
    })
}
