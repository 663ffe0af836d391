//! The Event Log of Windows.
//!
//! An entry has a number and insertions; the text comes from the table of messages in an executable, which is found by
//! the name of the source. So an entry of a source that nobody has registered is of no use to anybody.

use std::io;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::System::Diagnostics::Debug::{
    FORMAT_MESSAGE_ARGUMENT_ARRAY, FORMAT_MESSAGE_FROM_HMODULE, FormatMessageW,
};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use super::registry::{self, Root, Value};

/// Sources of the log "Application".
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
const MESSAGES: &str = "EventMessageFile";

/// Errors, warnings and information.
const TYPES: u32 = 7;

/// An insertion has at most so many characters; the system takes 31,839 units of UTF-16.
const LONGEST: usize = 4096;

/// The log, open for one source.
#[derive(Debug)]
pub struct EventLog {
    handle: usize,
}

impl EventLog {
    /// Opens it, if the source has been registered; else the error is `NotFound`.
    pub fn open(source: &str) -> io::Result<EventLog> {
        if registry::text(Root::Machine, &key(source), MESSAGES).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let source = wide(source);
        // SAFETY: the name ends with a zero; no name of a machine means this one.
        let handle = unsafe { RegisterEventSourceW(null(), source.as_ptr()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(EventLog { handle: handle as usize })
    }

    /// Writes an entry. Its severity is in its number.
    pub fn report(&self, id: u32, insertions: &[String]) -> io::Result<()> {
        let kind = match id >> 30 {
            3 => EVENTLOG_ERROR_TYPE,
            2 => EVENTLOG_WARNING_TYPE,
            _ => EVENTLOG_INFORMATION_TYPE,
        };
        let texts = insertions.iter().map(|text| wide(&plain(text))).collect::<Vec<_>>();
        let pointers = texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let count = pointers.len() as u16;
        // SAFETY: the handle is open; there are as many texts as is said, each ends with a zero; no user and no data.
        let done = unsafe {
            ReportEventW(self.handle as _, kind, 0, id, null_mut(), count, 0, pointers.as_ptr(), null())
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: the handle was opened for this, and is used no more.
        unsafe { DeregisterEventSource(self.handle as _) };
    }
}

/// Has the Event Viewer find the texts of a source in an executable. To be done by an administrator.
pub fn register_source(source: &str, message_file: &Path) -> io::Result<()> {
    let file = message_file.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    let key = key(source);
    registry::set(Root::Machine, &key, MESSAGES, Value::Expand(file))?;
    registry::set(Root::Machine, &key, "TypesSupported", Value::Number(TYPES))
}

/// Undoes that. What was written before can no longer be read by people.
pub fn unregister_source(source: &str) -> io::Result<()> {
    registry::remove(Root::Machine, &key(source))
}

/// The text of an entry, from the table in our own executable. `insertions` must be as many as the text has.
pub fn format(id: u32, insertions: &[String]) -> io::Result<String> {
    let texts = insertions.iter().map(|text| wide(text)).collect::<Vec<_>>();
    // The text may name up to 99 of them: those that are missing are empty.
    let empty = wide("");
    let pointers = texts.iter().chain(std::iter::repeat(&empty)).map(|text| text.as_ptr().cast::<i8>());
    let pointers = pointers.take(99).collect::<Vec<_>>();
    let mut buffer = vec![0_u16; 32 * 1024];
    // SAFETY: no module means the executable; the buffer is as long as is said; there are as many pointers as a
    // text can ask for, each to a text that ends with a zero.
    let length = unsafe {
        FormatMessageW(
            FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
            null(),
            id,
            0,
            buffer.as_mut_ptr(),
            buffer.len() as u32,
            pointers.as_ptr(),
        )
    };
    if length == 0 {
        return Err(io::Error::last_os_error());
    }
    buffer.truncate(length as usize);
    Ok(String::from_utf16_lossy(&buffer).trim_end().to_owned())
}

fn key(source: &str) -> String {
    format!(r"{SOURCES}\{source}")
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A text as an insertion can have it: the Event Viewer takes a `%` before a digit for an insertion in the insertion.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().filter(|character| *character != '\0').take(LONGEST).peekable();
    while let Some(character) = characters.next() {
        plain.push(character);
        if character == '%' && characters.peek().is_some_and(char::is_ascii_digit) {
            plain.push(' ');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_can_be_opened_while_it_is_registered() {
        let source = "keyrx-test";
        unregister_source(source).unwrap();
        assert_eq!(EventLog::open(source).unwrap_err().kind(), io::ErrorKind::NotFound);
        register_source(source, Path::new(r"C:\keyrx.exe")).unwrap();
        assert_eq!(registry::number(Root::Machine, &key(source), "TypesSupported"), Some(7));
        let log = EventLog::open(source).unwrap();
        for id in [0x4000_03e8, 0x8000_07d0, 0xc000_0bb8] {
            log.report(id, &["a".into(), "b%1\0".into()]).unwrap();
        }
        unregister_source(source).unwrap();
        unregister_source(source).unwrap();
        assert!(EventLog::open(source).is_err());
    }

    #[test]
    fn an_executable_without_a_table_has_no_texts() {
        assert!(format(0x4000_03e8, &[]).is_err());
    }

    #[test]
    fn an_insertion_has_no_insertions() {
        assert_eq!(plain("100% of %1, %%2\0"), "100% of % 1, %% 2");
        assert_eq!(plain(&"x".repeat(5000)).len(), LONGEST);
    }
}
