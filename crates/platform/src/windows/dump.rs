//! Minidumps: what a process was at, written by another process.

use std::fs::{self, File};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::System::Diagnostics::Debug::{
    EXCEPTION_POINTERS, MINIDUMP_EXCEPTION_INFORMATION, MiniDumpNormal, MiniDumpWithThreadInfo,
    MiniDumpWithUnloadedModules, MiniDumpWriteDump, SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX,
    SetErrorMode,
};

use super::process::Process;

/// An exception of the process: where, and where in its memory it stands what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The number of the thread.
    pub thread: u32,
    /// The address of its EXCEPTION_POINTERS.
    pub pointers: usize,
}

/// Writes a dump of a process, whole or not at all: its threads with their stacks, and its modules. What lies in a
/// stack may be keys that were typed in the last moments; the heap is not in it.
pub fn dump(process: &Process, exception: Option<Exception>, path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension("dmp.new");
    let file = File::create(&unfinished)?;
    let exception = exception.map(|Exception { thread, pointers }| MINIDUMP_EXCEPTION_INFORMATION {
        ThreadId: thread,
        ExceptionPointers: pointers as *mut EXCEPTION_POINTERS,
        ClientPointers: 1,
    });
    let about = exception.as_ref().map_or(null(), |exception| exception as *const _);
    // SAFETY: both handles are open; the exception, if there is one, lies in the memory of the process, as is said.
    let done = unsafe {
        MiniDumpWriteDump(
            process.handle(),
            process.id(),
            file.as_raw_handle(),
            MiniDumpNormal | MiniDumpWithThreadInfo | MiniDumpWithUnloadedModules,
            about,
            null_mut(),
            null_mut(),
        )
    };
    let error = io::Error::last_os_error();
    drop(file);
    if done == 0 {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, path)
}

/// For a process of which the only work is to write a dump: if that goes wrong, it ends, and no window tells of it.
pub fn let_no_window_open() {
    // SAFETY: no condition.
    unsafe { SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX) };
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_dump_of_a_child_is_written_whole_or_not_at_all() {
        let mut child = Command::new("cmd")
            .args(["/c", "pause"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::of(&child).unwrap();
        let directory = std::env::temp_dir().join(format!("keyrx-dump-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("one.dmp");
        dump(&process, None, &path).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(b"MDMP"));
        process.terminate(1).unwrap();
        child.wait().unwrap();
        assert!(dump(&process, None, &directory.join("none").join("two.dmp")).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
