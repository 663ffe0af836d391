//! What keyrx says while it runs: lines on the standard error, written by a thread of their own.
//!
//! A console in which the user marks text, or a full pipe, takes nothing until it is ready; the thread that serves
//! keys must not wait for that. Lines that do not fit into the queue are lost.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written.
const QUEUE: usize = 1024;

/// How long the end waits for them.
const UNTIL_WRITTEN: Duration = Duration::from_millis(500);

/// The log, which is written out when this is dropped.
#[derive(Debug)]
pub struct Logging {
    lines: SyncSender<Option<Vec<u8>>>,
    written: Receiver<()>,
}

impl Logging {
    /// Begins to log, for the rest of the process.
    pub fn start() -> io::Result<Logging> {
        let (lines, queue) = sync_channel::<Option<Vec<u8>>>(QUEUE);
        let (end, written) = channel();
        thread::Builder::new().name("log".into()).spawn(move || {
            while let Ok(Some(line)) = queue.recv() {
                // Without anybody who reads it there is nobody to be told.
                let _ = io::stderr().write_all(&line);
            }
            let _ = end.send(());
        })?;
        let writer = lines.clone();
        tracing_subscriber::fmt()
            .with_ansi(io::stderr().is_terminal() && system::has_colours())
            .with_target(false)
            .with_writer(move || Line(writer.clone()))
            .init();
        Ok(Logging { lines, written })
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if self.lines.try_send(None).is_ok() {
            let _ = self.written.recv_timeout(UNTIL_WRITTEN);
        }
    }
}

/// Takes one line.
struct Line(SyncSender<Option<Vec<u8>>>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(Some(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
