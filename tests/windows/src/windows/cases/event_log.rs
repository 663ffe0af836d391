//! What the Event Viewer can show of keyrx: the texts are in the executable.

use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_MR_MID_NOT_FOUND, FreeLibrary, GetLastError, HMODULE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    FORMAT_MESSAGE_ARGUMENT_ARRAY, FORMAT_MESSAGE_FROM_HMODULE, FormatMessageW,
};
use windows_sys::Win32::System::LibraryLoader::{LOAD_LIBRARY_AS_DATAFILE, LoadLibraryExW};

use super::Case;

/// What the program's own entries are held against, too (crates/keyrx/src/event_log.rs).
const TABLE: &str = include_str!("../../../../../crates/keyrx/resources/event_log.mc");

pub const CASES: &[Case] = &[Case {
    name: "every entry of the Event Log has its text in keyrx.exe, with every insertion",
    run: |scene| {
        let messages = Messages::of(scene.keyrx_exe());
        let insertions = ["<first>", "<second>", "<third>", "<fourth>", "<fifth>"];
        let mut count = 0;
        for (id, text) in entries() {
            let expected = insertions
                .iter()
                .zip(1..)
                .fold(text, |text, (insertion, number)| text.replace(&format!("%{number}"), insertion));
            assert!(expected.contains("<first>") && !expected.contains('%'), "{expected}");
            assert_eq!(messages.format(id, &insertions), Ok(expected), "{id:#x}");
            count += 1;
        }
        assert!(count > 20, "{count}");
        assert_eq!(messages.format(0x4000_03e7, &insertions), Err(ERROR_MR_MID_NOT_FOUND));
    },
}];

/// The numbers and texts of the table.
fn entries() -> impl Iterator<Item = (u32, String)> {
    TABLE.split("MessageId=").skip(1).map(|entry| {
        let lines = entry.lines().collect::<Vec<_>>();
        let severity = match lines[1] {
            "Severity=Informational" => 1,
            "Severity=Warning" => 2,
            "Severity=Error" => 3,
            other => panic!("{other}"),
        };
        (severity << 30 | lines[0].parse::<u32>().unwrap(), lines[5].to_owned())
    })
}

/// The table of messages of an executable, loaded as the Event Viewer does.
struct Messages(HMODULE);

impl Messages {
    fn of(program: &Path) -> Messages {
        let path = program.as_os_str().encode_wide().chain([0]).collect::<Vec<_>>();
        // SAFETY: the name ends with a zero; nothing of the file is run.
        let module = unsafe { LoadLibraryExW(path.as_ptr(), null_mut(), LOAD_LIBRARY_AS_DATAFILE) };
        assert!(!module.is_null(), "{program:?} cannot be loaded");
        Messages(module)
    }

    fn format(&self, id: u32, insertions: &[&str]) -> Result<String, u32> {
        let texts = insertions.iter().map(|text| text.encode_utf16().chain([0]).collect::<Vec<_>>());
        let texts = texts.collect::<Vec<_>>();
        let pointers = texts.iter().map(|text| text.as_ptr().cast::<i8>()).collect::<Vec<_>>();
        let mut buffer = [0_u16; 2048];
        let length = buffer.len() as u32;
        // SAFETY: the module is loaded; the buffer is as long as is said; no text names more insertions than there
        // are, and each ends with a zero.
        let length = unsafe {
            FormatMessageW(
                FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
                self.0,
                id,
                0,
                buffer.as_mut_ptr(),
                length,
                pointers.as_ptr(),
            )
        };
        if length == 0 {
            // SAFETY: no condition.
            return Err(unsafe { GetLastError() });
        }
        Ok(String::from_utf16_lossy(&buffer[..length as usize]).trim_end().to_owned())
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // SAFETY: it was loaded for this.
        unsafe { FreeLibrary(self.0) };
    }
}
