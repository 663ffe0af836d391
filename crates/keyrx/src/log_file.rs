//! The log's file: it grows to a size, is then set aside, and the oldest of those is removed.
//!
//! A full disk, a lost right or a lost directory cost lines, never more: after a failure nothing is tried for a
//! while, and the caller keeps what it can. A line is in the file whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long after a failure the file is tried again.
pub const RETRY: Duration = Duration::from_secs(30);

/// How large the file may grow, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: u64,
    pub files: u32,
}

impl Limits {
    pub const USUAL: Limits = Limits { bytes: 5 << 20, files: 5 };
}

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    limits: Limits,
    open: Option<Open>,
    /// After a failure: when to try again.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens nothing yet.
    pub fn new(path: PathBuf, limits: Limits) -> LogFile {
        LogFile { path, limits, open: None, retry_at: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When it is to be tried again, if it has failed.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether it failed when it was tried last, and it is not yet time to try again.
    pub fn rests(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|retry_at| now < retry_at)
    }

    /// Appends lines, all or none.
    pub fn append(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let appended = self.try_append(lines);
        if appended.is_err() {
            self.open = None;
        }
        self.retry_at = appended.is_err().then(|| now.checked_add(RETRY)).flatten();
        appended
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let added = lines.len() as u64;
        let full = |open: &Open| open.length > 0 && open.length.saturating_add(added) > self.limits.bytes;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path)?,
        };
        if full(&open) {
            drop(open); // Windows renames no file that is open
            self.set_aside()?;
            open = Open::new(&self.path)?;
        }
        if let Err(error) = open.file.write_all(lines) {
            // A full disk takes half a line.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length = open.length.saturating_add(added);
        self.open = Some(open);
        Ok(())
    }

    /// `log` becomes `log.1`, that `log.2`, and so on; the last is gone.
    fn set_aside(&self) -> io::Result<()> {
        let name = |number| match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                name.into()
            }
        };
        let last = self.limits.files.saturating_sub(1);
        if last == 0 {
            return fs::remove_file(name(0));
        }
        for number in (0..last).rev() {
            match fs::rename(name(number), name(number.saturating_add(1))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Open> {
        // Not in the mode for appending: Windows would not cut such a file.
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Open { file, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let home = directory("log-rotation");
        let mut log = LogFile::new(home.join("log"), Limits { bytes: 10, files: 3 });
        for line in ["one..\n", "two\n", "three\n", "four\n", "five.....\n", "six\n"] {
            log.append(line.as_bytes(), Instant::now()).unwrap();
        }
        let read = |name| fs::read_to_string(home.join(name)).unwrap();
        assert_eq!(names(&home), ["log", "log.1", "log.2"]);
        assert_eq!((read("log").as_str(), read("log.1").as_str()), ("six\n", "five.....\n"));
        assert_eq!(read("log.2"), "four\n");
    }

    #[test]
    fn it_goes_on_where_an_earlier_run_stopped() {
        let home = directory("log-append");
        for line in ["one\n", "two\n"] {
            let mut log = LogFile::new(home.join("log"), Limits::USUAL);
            log.append(line.as_bytes(), Instant::now()).unwrap();
        }
        assert_eq!(fs::read_to_string(home.join("log")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn after_a_failure_it_rests_and_then_finds_its_place_again() {
        let home = directory("log-failure");
        let missing = home.join("missing");
        let mut log = LogFile::new(missing.join("log"), Limits::USUAL);
        let now = Instant::now();
        assert!(log.append(b"one\n", now).is_err());
        assert!(log.rests(now) && log.rests(now + RETRY / 2) && !log.rests(now + RETRY));
        fs::create_dir(&missing).unwrap();
        log.append(b"two\n", now + RETRY).unwrap();
        assert!(!log.rests(now));
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "two\n");
    }
}
