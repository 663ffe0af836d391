//! Dumps are systemd-coredump's work on Linux: it makes one of whoever dies by a signal such as SIGABRT.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::dump::Exception;

/// There is none.
pub fn start_helper(_: &mut Command) -> io::Result<Child> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The kernel ends whoever does what cannot be done, and `tell` is never called.
pub fn on_exception(_limit: Duration, _tell: impl Fn(&Exception) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Fails.
pub fn write_of(
    _pid: u32,
    _exception: Option<(u32, usize)>,
    _file: &Path,
    _limit: Duration,
    _exit_code: u32,
) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
