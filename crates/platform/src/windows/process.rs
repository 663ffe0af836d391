//! What the system says of processes: which there are, what ours may do, and when one has ended.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::Child;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenElevation, TokenUIAccess,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, INFINITE, OpenProcessToken, WaitForSingleObject,
};

/// A process of which the end can be waited for by another thread.
#[derive(Debug)]
pub struct Awaited(OwnedHandle);

impl Awaited {
    /// A process that we have started.
    pub fn of(child: &Child) -> io::Result<Awaited> {
        child.as_handle().try_clone_to_owned().map(Awaited)
    }

    /// Returns when the process has ended.
    pub fn wait(self) {
        // SAFETY: the handle is ours, and open until after the call.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), INFINITE) };
    }
}

/// The file names of all running programs.
pub fn names() -> Vec<String> {
    // SAFETY: no condition.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Vec::new();
    }
    // SAFETY: the handle is new, and nobody else's.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry =
        PROCESSENTRY32W { dwSize: size_of::<PROCESSENTRY32W>() as u32, ..PROCESSENTRY32W::default() };
    let mut names = Vec::new();
    // SAFETY: the handle is open; the entry says its size, and is written to.
    let mut is_there = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while is_there != 0 {
        let name = entry.szExeFile.split(|unit| *unit == 0).next().unwrap_or_default();
        names.push(String::from_utf16_lossy(name));
        // SAFETY: as above.
        is_there = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    names
}

/// Whether we run as administrator, with all the rights of one.
pub fn is_elevated() -> bool {
    token(TokenElevation)
}

/// Whether we may serve windows of programs with higher rights, as aids for disabled people do.
pub fn has_ui_access() -> bool {
    token(TokenUIAccess)
}

/// A yes or no in our token.
fn token(class: TOKEN_INFORMATION_CLASS) -> bool {
    let mut token = null_mut();
    // SAFETY: the handle is written to where it is said; the pseudo handle is always good.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return false;
    }
    // SAFETY: the handle is new, and nobody else's.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut answer = 0_u32;
    let mut length = 0;
    // SAFETY: both classes that this is called with write one u32, which is what there is room for.
    let done = unsafe {
        GetTokenInformation(token.as_raw_handle(), class, (&raw mut answer).cast(), 4, &mut length)
    };
    done != 0 && answer != 0
}
