//! A process of a scene: what it says is read as it comes, and it dies with its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Where a process says what is to be read.
pub enum Says {
    Stdout,
    Stderr,
}

pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// Wine fails to start a program now and then on a busy machine (error 1359), and not a moment later.
fn spawn(command: &mut Command) -> Child {
    for _ in 0..5 {
        if let Ok(child) = command.spawn() {
            return child;
        }
        thread::sleep(Duration::from_millis(200));
    }
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Process {
    pub fn start(command: &mut Command, says: Says) -> Process {
        command.stdin(Stdio::piped());
        match says {
            Says::Stdout => command.stdout(Stdio::piped()),
            Says::Stderr => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = spawn(command);
        let output: Box<dyn Read + Send> = match says {
            Says::Stdout => Box::new(child.stdout.take().unwrap()),
            Says::Stderr => Box::new(child.stderr.take().unwrap()),
        };
        let (lines, read) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { return };
                if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        Process { child, lines: read }
    }

    /// This program in another role.
    pub fn role(arguments: &[&str]) -> Process {
        Process::program(&std::env::current_exe().unwrap(), arguments)
    }

    /// A program of which the standard output is read.
    pub fn program(program: &Path, arguments: &[&str]) -> Process {
        Process::start(Command::new(program).args(arguments), Says::Stdout)
    }

    /// Waits for its end: its exit code, and all it said since `line` was called last.
    pub fn end(mut self) -> (Option<i32>, String) {
        drop(self.child.stdin.take());
        let said = self.lines.iter().map(|line| line + "\n").collect();
        (self.child.wait().unwrap().code(), said)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it has said, if there is one.
    pub fn line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Gives it a line to read.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ends it on the spot, as the task manager does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
