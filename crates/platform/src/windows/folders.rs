//! Folders that the system names.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr::null_mut;

use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::UI::Shell::{FOLDERID_ProgramData, SHGetKnownFolderPath};

/// Where programs keep what all users share. The system is asked: a service need not have it in its environment.
pub fn shared() -> Option<PathBuf> {
    let mut path = null_mut();
    // SAFETY: the folder is one that the system knows; the path is written to; no user means ours.
    let result = unsafe { SHGetKnownFolderPath(&FOLDERID_ProgramData, 0, null_mut(), &mut path) };
    let mut units = Vec::new();
    if result >= 0 && !path.is_null() {
        // SAFETY: the path ends with a zero, which is not passed.
        while let unit @ 1.. = unsafe { *path.add(units.len()) } {
            units.push(unit);
        }
    }
    // SAFETY: the system made it for us, or it is null.
    unsafe { CoTaskMemFree(path.cast()) };
    (!units.is_empty()).then(|| OsString::from_wide(&units).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_folder_for_all_users() {
        assert!(shared().is_some_and(|folder| folder.is_absolute() && folder.is_dir()));
    }
}
