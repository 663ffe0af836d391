//! What the system says of processes: which there are, what ours may do, and when one has ended.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::process::Child;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{FILETIME, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenElevation, TokenUIAccess,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessId, GetProcessTimes, INFINITE, OpenProcess,
    OpenProcessToken, PROCESS_NAME_WIN32, PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, PROCESS_VM_READ, QueryFullProcessImageNameW, TerminateProcess,
    WaitForSingleObject,
};

use crate::live::{Counted, Kind};

/// A process of which the end can be waited for by another thread.
pub type Awaited = Process;

/// A process. As long as this is there, no other process gets its number.
#[derive(Debug)]
pub struct Process(Counted<OwnedHandle>);

/// Which process it is: no two have all of it in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number, which another process has had before or will have.
    pub pid: u32,
    /// When it was started, as the system counts it: in 100 ns.
    pub started: u64,
    /// The program's file.
    pub image: PathBuf,
    /// The session that it runs in; services are in 0.
    pub session: u32,
}

impl Process {
    /// A process that we have started.
    pub fn of(child: &Child) -> io::Result<Process> {
        child.as_handle().try_clone_to_owned().map(Process::from)
    }

    /// A process that is running, or that somebody else still watches. What we may not do with it fails later.
    pub fn open(pid: u32) -> io::Result<Process> {
        let everything =
            PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_TERMINATE | PROCESS_SYNCHRONIZE;
        let little = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        let mut error = io::ErrorKind::NotFound.into();
        for rights in [everything, little, PROCESS_QUERY_LIMITED_INFORMATION] {
            // SAFETY: no condition.
            let handle = unsafe { OpenProcess(rights, 0, pid) };
            if !handle.is_null() {
                // SAFETY: the handle is new, and nobody else's.
                return Ok(Process::from(unsafe { OwnedHandle::from_raw_handle(handle) }));
            }
            error = io::Error::last_os_error();
        }
        Err(error)
    }

    /// The same process, for another owner.
    pub fn try_clone(&self) -> io::Result<Process> {
        self.0.try_clone().map(Process::from)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        // SAFETY: the handle is open.
        unsafe { GetProcessId(self.handle()) }
    }

    /// Which one it is.
    pub fn identity(&self) -> io::Result<Identity> {
        let mut image = [0_u16; 1024];
        let mut length = image.len() as u32;
        // SAFETY: the handle is open; there is as much room as is said.
        let done = unsafe {
            QueryFullProcessImageNameW(self.handle(), PROCESS_NAME_WIN32, image.as_mut_ptr(), &mut length)
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let image = image.get(..length as usize).unwrap_or_default();
        let mut times = [FILETIME::default(); 4];
        let [started, ended, kernel, user] = &mut times;
        // SAFETY: the handle is open; all four are written to.
        if unsafe { GetProcessTimes(self.handle(), started, ended, kernel, user) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let started = u64::from(started.dwHighDateTime) << 32 | u64::from(started.dwLowDateTime);
        let (pid, mut session) = (self.id(), 0);
        // SAFETY: the number is written to.
        if unsafe { ProcessIdToSessionId(pid, &mut session) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Identity { pid, started, image: OsString::from_wide(image).into(), session })
    }

    /// Returns when the process has ended.
    pub fn wait(&self) {
        // SAFETY: the handle is open until after the call.
        unsafe { WaitForSingleObject(self.handle(), INFINITE) };
    }

    /// How it has ended; `None` while it runs.
    pub fn exit_code(&self) -> Option<u32> {
        // SAFETY: the handle is open.
        if unsafe { WaitForSingleObject(self.handle(), 0) } != WAIT_OBJECT_0 {
            return None;
        }
        let mut code = 0;
        // SAFETY: the handle is open; the number is written to.
        let done = unsafe { GetExitCodeProcess(self.handle(), &mut code) };
        (done != 0).then_some(code)
    }

    /// Ends it at once.
    pub fn terminate(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        let done = unsafe { TerminateProcess(self.handle(), code) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }
}

impl From<OwnedHandle> for Process {
    fn from(handle: OwnedHandle) -> Process {
        Process(Counted::new(Kind::Process, handle))
    }
}

impl AsHandle for Process {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_number_start_program_and_session() {
        let me = Process::open(std::process::id()).unwrap().identity().unwrap();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.image.file_name(), std::env::current_exe().unwrap().file_name());
        assert_eq!(me.session, super::super::console::session());
        let again = Process::open(me.pid).unwrap().identity().unwrap();
        assert_eq!(me, again);
    }

    #[test]
    fn the_end_of_a_process_is_waited_for_and_its_code_is_known() {
        let mut child = Command::new("cmd").args(["/c", "exit 7"]).spawn().unwrap();
        let process = Process::of(&child).unwrap();
        process.wait();
        assert_eq!(process.exit_code(), Some(7));
        child.wait().unwrap();
    }

    #[test]
    fn a_process_can_be_ended() {
        let mut child =
            Command::new("cmd").args(["/c", "pause"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert_eq!((process.id(), process.exit_code()), (child.id(), None));
        process.terminate(42).unwrap();
        process.wait();
        assert_eq!(process.exit_code(), Some(42));
        child.wait().unwrap();
    }
}
