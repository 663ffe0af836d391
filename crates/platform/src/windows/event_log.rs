//! The Event Log of Windows: what is written there, and what makes texts of it.
//!
//! A program writes numbers and parts of sentences; the sentences are in the message table of an executable, which
//! whoever shows the log loads. So the source has to be registered with that executable.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{FreeLibrary, HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    FORMAT_MESSAGE_ARGUMENT_ARRAY, FORMAT_MESSAGE_FROM_HMODULE, FormatMessageW,
};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows_sys::Win32::System::LibraryLoader::{LOAD_LIBRARY_AS_DATAFILE, LoadLibraryExW};

use super::registry::{self, Value};

const KEY: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody may want to know.
    Information,
    /// Somebody should look at it.
    Warning,
    /// Something does not work.
    Error,
}

/// A way to the log.
#[derive(Debug)]
pub struct EventLog(HANDLE);

// SAFETY: the handle is the log's and may be used by any thread.
unsafe impl Send for EventLog {}
// SAFETY: as above.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// Opens it, for a source that may or may not be registered.
    pub fn open(source: &str) -> io::Result<EventLog> {
        let source = wide(source);
        // SAFETY: this machine; the name ends with a zero.
        let handle = unsafe { RegisterEventSourceW(null(), source.as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(EventLog(handle)) }
    }

    /// Writes an event: its number in the message table, and what is put into the sentence there.
    pub fn report(&self, severity: Severity, id: u32, parts: &[String]) -> io::Result<()> {
        let kind = match severity {
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Error => EVENTLOG_ERROR_TYPE,
        };
        let parts = parts.iter().map(|part| wide(part)).collect::<Vec<_>>();
        let parts = parts.iter().map(|part| part.as_ptr()).collect::<Vec<_>>();
        let count = u16::try_from(parts.len()).unwrap_or_default();
        // SAFETY: the log is open; there are as many texts as is said, each with a zero behind it; no user, no data.
        let done = unsafe { ReportEventW(self.0, kind, 0, id, null_mut(), count, 0, parts.as_ptr(), null()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and no longer used.
        unsafe { DeregisterEventSource(self.0) };
    }
}

/// Has the log know the sentences of a source. For administrators.
pub fn register(source: &str, program: &Path) -> io::Result<()> {
    let key = format!(r"{KEY}\{source}");
    registry::set(&key, "EventMessageFile", Value::Expand(&program.to_string_lossy()))?;
    registry::set(&key, "TypesSupported", Value::Number(7))
}

/// No more.
pub fn unregister(source: &str) -> io::Result<()> {
    registry::remove(&format!(r"{KEY}\{source}"))
}

/// The sentence that an executable has for a number, with the parts put in, as those make it who show the log.
pub fn format(program: &Path, id: u32, parts: &[String]) -> io::Result<String> {
    let path = program.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
    // SAFETY: the path ends with a zero; nothing of the file is run.
    let module = unsafe { LoadLibraryExW(path.as_ptr(), null_mut(), LOAD_LIBRARY_AS_DATAFILE) };
    if module.is_null() {
        return Err(io::Error::last_os_error());
    }
    // A sentence has at most so many places; those that are not said are empty.
    let parts =
        parts.iter().map(|part| wide(part)).chain(std::iter::repeat_n(vec![0], 9)).collect::<Vec<_>>();
    let parts = parts.iter().map(|part| part.as_ptr()).collect::<Vec<_>>();
    let mut text = [0_u16; 4096];
    // SAFETY: the module is loaded; there is as much room as is said, and a text for each place.
    let length = unsafe {
        FormatMessageW(
            FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
            module,
            id,
            0,
            text.as_mut_ptr(),
            text.len() as u32,
            parts.as_ptr().cast::<*const i8>(),
        )
    };
    let error = io::Error::last_os_error();
    // SAFETY: it was loaded above and is used no more.
    unsafe { FreeLibrary(module) };
    match text.get(..length as usize) {
        Some(text @ [_, ..]) => Ok(String::from_utf16_lossy(text)),
        _ => Err(error),
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::registry::Root;
    use super::*;

    #[test]
    fn an_event_is_written() {
        let log = EventLog::open("keyrx-test").unwrap();
        log.report(Severity::Warning, 1, &["one".into(), "two".into()]).unwrap();
        log.report(Severity::Information, 2, &[]).unwrap();
    }

    #[test]
    fn a_source_is_registered_and_removed() {
        register("keyrx-test-source", Path::new(r"C:\x.exe")).unwrap();
        let value =
            || registry::number(Root::Machine, &format!(r"{KEY}\keyrx-test-source"), "TypesSupported");
        assert_eq!(value(), Some(7));
        unregister("keyrx-test-source").unwrap();
        assert_eq!(value(), None);
        unregister("keyrx-test-source").unwrap();
    }
}
