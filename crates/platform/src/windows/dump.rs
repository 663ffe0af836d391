//! Dumps of processes, written from outside of them, and what calls for one: an exception that nobody handles.
//!
//! A dump has the stacks of all threads, their registers and the list of modules, and nothing of the heap.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::mem::transmute;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, Thread};
use std::time::Duration;

use windows_sys::Win32::Foundation::{FreeLibrary, HANDLE, HMODULE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    EXCEPTION_POINTERS, MINIDUMP_EXCEPTION_INFORMATION, MINIDUMP_TYPE, MiniDumpNormal,
    MiniDumpWithThreadInfo, MiniDumpWithUnloadedModules, SYMOPT_DEFERRED_LOADS, SYMOPT_PUBLICS_ONLY,
    SetUnhandledExceptionFilter,
};
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, GetCurrentThreadId, OpenProcess, PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION,
    PROCESS_TERMINATE, PROCESS_VM_READ, Sleep, TerminateProcess,
};
use windows_sys::core::{BOOL, PCSTR, s, w};

use crate::dump::Exception;
use crate::live::{Kind, Live};

/// The rest of the exception's filter.
const CONTINUE_SEARCH: i32 = 0;

/// How often a thread that is lost looks whether all has been done about it, in milliseconds.
const LOOK: u32 = 10;

/// Writes a dump of a process. `exception` is the thread and where its pointers are, in the memory of that process.
/// What is written becomes `file` when it is whole.
///
/// `process` must have been opened with the rights to ask, to read the memory and to duplicate handles.
pub fn dump(
    process: impl AsHandle,
    pid: u32,
    exception: Option<(u32, usize)>,
    file: &Path,
) -> io::Result<()> {
    dump_if(process, pid, exception, file, || Ok(()))
}

fn dump_if(
    process: impl AsHandle,
    pid: u32,
    exception: Option<(u32, usize)>,
    file: &Path,
    is_whole: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let library = Library::load()?;
    let unfinished = file.with_extension("dmp.new");
    let output = File::create(&unfinished)?;
    let written = library.write(process.as_handle().as_raw_handle(), pid, exception, &output);
    drop(output);
    let written = is_whole().and(written);
    match written.and_then(|()| fs::rename(&unfinished, file)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// As `dump`, of a process by its number. It stands still meanwhile: if that takes longer than `limit`, the process is
/// ended with `exit_code`, and there is no dump.
pub fn write_of(
    pid: u32,
    exception: Option<(u32, usize)>,
    file: &Path,
    limit: Duration,
    exit_code: u32,
) -> io::Result<()> {
    let rights = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_DUP_HANDLE | PROCESS_TERMINATE;
    // SAFETY: no condition.
    let process = unsafe { OpenProcess(rights, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    thread::scope(|scope| {
        let (done, is_done) = channel::<Infallible>();
        let process = &process;
        let watch = thread::Builder::new().spawn_scoped(scope, move || {
            let is_late = matches!(is_done.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
            if is_late {
                // SAFETY: the handle is open.
                unsafe { TerminateProcess(process.as_raw_handle(), exit_code) };
            }
            is_late
        })?;
        let is_whole = || {
            drop(done);
            let is_late = watch.join().unwrap_or(true);
            if is_late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        dump_if(process, pid, exception, file, is_whole)
    })
}

type MiniDumpWriteDump = unsafe extern "system" fn(
    HANDLE,
    u32,
    HANDLE,
    MINIDUMP_TYPE,
    *const MINIDUMP_EXCEPTION_INFORMATION,
    *const core::ffi::c_void,
    *const core::ffi::c_void,
) -> BOOL;

type SymSetOptions = unsafe extern "system" fn(u32) -> u32;

/// The library that writes dumps. It is loaded only for that, and from where the system has it: whoever links it
/// loads one that lies beside the executable.
struct Library(HMODULE);

impl Library {
    fn load() -> io::Result<Library> {
        // SAFETY: the name ends with a zero; the system's own library does no harm when it is loaded.
        let library = unsafe { LoadLibraryExW(w!("dbghelp.dll"), null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
        if library.is_null() { Err(io::Error::last_os_error()) } else { Ok(Library(library)) }
    }

    fn find(&self, name: PCSTR) -> io::Result<unsafe extern "system" fn() -> isize> {
        // SAFETY: the library is loaded; both names that this is called with end with a zero.
        unsafe { GetProcAddress(self.0, name) }.ok_or_else(io::Error::last_os_error)
    }

    fn write(
        &self,
        process: HANDLE,
        pid: u32,
        exception: Option<(u32, usize)>,
        file: &File,
    ) -> io::Result<()> {
        let (write, set_options) = (self.find(s!("MiniDumpWriteDump"))?, self.find(s!("SymSetOptions"))?);
        // SAFETY: this is the type that the function has (dbghelp.h).
        let write = unsafe { transmute::<unsafe extern "system" fn() -> isize, MiniDumpWriteDump>(write) };
        // SAFETY: as above.
        let set_options =
            unsafe { transmute::<unsafe extern "system" fn() -> isize, SymSetOptions>(set_options) };
        // A dump has no symbols. Wine reads them all the same, and fails at those of development builds.
        // SAFETY: no condition.
        unsafe { set_options(SYMOPT_DEFERRED_LOADS | SYMOPT_PUBLICS_ONLY) };
        let information = exception.map(|(thread, pointers)| MINIDUMP_EXCEPTION_INFORMATION {
            ThreadId: thread,
            ExceptionPointers: pointers as *mut EXCEPTION_POINTERS,
            ClientPointers: 1,
        });
        let exception = information.as_ref().map_or_else(null, std::ptr::from_ref);
        let kind = MiniDumpNormal | MiniDumpWithThreadInfo | MiniDumpWithUnloadedModules;
        // SAFETY: both handles are open; the information is there until the call is over, and its pointers are looked
        // up in the memory of the process, where anything may be; the rest may be left out.
        let done = unsafe { write(process, pid, file.as_raw_handle(), kind, exception, null(), null()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: it was loaded for this, and nothing of it is used any more.
        unsafe { FreeLibrary(self.0) };
    }
}

/// Starts a helper, for which no window is opened.
pub fn start_helper(command: &mut Command) -> io::Result<Child> {
    command.creation_flags(CREATE_NO_WINDOW).spawn()
}

/// The exception that the process dies of: the first one. Whoever comes later waits with it.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static IS_DYING: AtomicBool = AtomicBool::new(false);
static THREAD: AtomicU32 = AtomicU32::new(0);
static POINTERS: AtomicUsize = AtomicUsize::new(0);
static IS_TOLD: AtomicBool = AtomicBool::new(false);
/// So many looks it has.
static LOOKS: AtomicU32 = AtomicU32::new(0);
static LISTENER: OnceLock<Thread> = OnceLock::new();

/// Calls `tell` when an exception that nobody handles is about to end the process, on a thread that waits for nothing
/// else: the one that it happened in may have no stack left. Then, or after `limit`, Windows takes its course (Windows
/// Error Reporting). To be called once.
pub fn on_exception(limit: Duration, tell: impl Fn(&Exception) + Send + 'static) -> io::Result<()> {
    LOOKS.store(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX) / LOOK, Ordering::Release);
    let thread = thread::Builder::new().name("dying".into()).spawn(move || {
        let _live = Live::new(Kind::Thread);
        while !IS_DYING.load(Ordering::Acquire) {
            thread::park();
        }
        let exception = exception();
        let _ = catch_unwind(AssertUnwindSafe(|| tell(&exception)));
        IS_TOLD.store(true, Ordering::Release);
    })?;
    if LISTENER.set(thread.thread().clone()).is_ok() {
        // SAFETY: the function has the type that is wanted, and is there as long as the program is.
        unsafe { SetUnhandledExceptionFilter(Some(filter)) };
    }
    Ok(())
}

/// What is known of the exception.
fn exception() -> Exception {
    let pointers = POINTERS.load(Ordering::Acquire);
    // SAFETY: the filter was called with this, and waits: it is on the stack of that thread.
    let known = unsafe { (pointers as *const EXCEPTION_POINTERS).as_ref() };
    // SAFETY: as above.
    let record = known.and_then(|known| unsafe { known.ExceptionRecord.as_ref() });
    Exception {
        thread: THREAD.load(Ordering::Acquire),
        pointers,
        code: record.map_or(0, |record| record.ExceptionCode as u32),
        address: record.map_or(0, |record| record.ExceptionAddress as usize),
    }
}

/// Windows calls it on the thread that is lost, of which little may still work.
unsafe extern "system" fn filter(pointers: *const EXCEPTION_POINTERS) -> i32 {
    if !IS_TAKEN.swap(true, Ordering::AcqRel) {
        // SAFETY: no condition.
        THREAD.store(unsafe { GetCurrentThreadId() }, Ordering::Release);
        POINTERS.store(pointers as usize, Ordering::Release);
        IS_DYING.store(true, Ordering::Release);
    }
    if let Some(thread) = LISTENER.get() {
        thread.unpark();
        for _ in 0..LOOKS.load(Ordering::Acquire) {
            if IS_TOLD.load(Ordering::Acquire) {
                break;
            }
            // SAFETY: no condition.
            unsafe { Sleep(LOOK) };
        }
    }
    CONTINUE_SEARCH
}
