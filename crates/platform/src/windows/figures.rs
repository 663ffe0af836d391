//! What Windows says of our process.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::time::{Duration, SystemTime};

use windows_sys::Win32::Foundation::{FILETIME, HANDLE, INVALID_HANDLE_VALUE, LocalFree};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GR_GDIOBJECTS, GR_USEROBJECTS, GetCurrentProcess, GetCurrentProcessId, GetGuiResources,
    GetProcessHandleCount, GetProcessTimes, GetThreadDescription, GetThreadTimes, OpenThread,
    THREAD_QUERY_LIMITED_INFORMATION,
};

use crate::{Figures, ThreadFigures};

/// From the first of January 1601, where Windows begins to count, to that of 1970.
const UNTIL_1970: Duration = Duration::from_secs(11_644_473_600);

/// What our process uses right now.
pub fn figures() -> Figures {
    let times = process_times();
    Figures {
        threads: threads(),
        cpu: times.map(|(_, cpu)| cpu),
        resident: resident(),
        handles: handles(),
        gdi_objects: Some(objects(GR_GDIOBJECTS)),
        user_objects: Some(objects(GR_USEROBJECTS)),
        started: times.map(|(started, _)| started),
    }
}

/// The system lists the threads of all processes, which is why it takes the longest of all figures.
fn threads() -> Vec<ThreadFigures> {
    // SAFETY: no condition.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Vec::new();
    }
    // SAFETY: the handle is new, and nobody else's.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    // SAFETY: no condition.
    let ours = unsafe { GetCurrentProcessId() };
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    let mut threads = Vec::new();
    // SAFETY: the handle is open; the entry says its size, and is written to.
    let mut is_there = unsafe { Thread32First(snapshot.as_raw_handle(), &mut entry) };
    while is_there != 0 {
        if entry.th32OwnerProcessID == ours {
            threads.extend(thread(entry.th32ThreadID));
        }
        // SAFETY: as above.
        is_there = unsafe { Thread32Next(snapshot.as_raw_handle(), &mut entry) };
    }
    threads
}

/// `None` for a thread that has ended meanwhile.
fn thread(id: u32) -> Option<ThreadFigures> {
    // SAFETY: no condition.
    let handle = unsafe { OpenThread(THREAD_QUERY_LIMITED_INFORMATION, 0, id) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is new, and nobody else's.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    let (_, cpu) = times(GetThreadTimes, handle.as_raw_handle())?;
    Some(ThreadFigures { name: name(&handle).unwrap_or_default(), cpu })
}

/// What `std` and others have given a thread as its name.
fn name(thread: &OwnedHandle) -> Option<String> {
    let mut name = null_mut();
    // SAFETY: the handle is open; the pointer is written to where it is said.
    if unsafe { GetThreadDescription(thread.as_raw_handle(), &mut name) } < 0 || name.is_null() {
        return None;
    }
    // SAFETY: it succeeded, so there is a string that ends with a zero. Each unit up to that may be read.
    let text = unsafe {
        let length = (0..).take_while(|at| *name.add(*at) != 0).count();
        String::from_utf16_lossy(std::slice::from_raw_parts(name, length))
    };
    // SAFETY: the string is ours to be freed, in this way, and is no longer used.
    unsafe { LocalFree(name.cast()) };
    Some(text)
}

type Times =
    unsafe extern "system" fn(HANDLE, *mut FILETIME, *mut FILETIME, *mut FILETIME, *mut FILETIME) -> i32;

/// When a process or thread was started, counted from 1601, and the time that it has computed.
fn times(get: Times, of: HANDLE) -> Option<(Duration, Duration)> {
    let [mut started, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: `get` is one of the two functions with this type, to which both callers give an open handle of the
    // right kind; the times are written to where it is said.
    let done = unsafe { get(of, &mut started, &mut ended, &mut kernel, &mut user) };
    (done != 0).then(|| (duration(started), duration(kernel).saturating_add(duration(user))))
}

fn process_times() -> Option<(SystemTime, Duration)> {
    // SAFETY: no condition; the pseudo handle is always good.
    let (started, cpu) = times(GetProcessTimes, unsafe { GetCurrentProcess() })?;
    let started = SystemTime::UNIX_EPOCH.checked_add(started.checked_sub(UNTIL_1970)?)?;
    Some((started, cpu))
}

/// In units of 100 ns.
fn duration(time: FILETIME) -> Duration {
    let units = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::new(units / 10_000_000, (units % 10_000_000 * 100) as u32)
}

fn resident() -> Option<u64> {
    let mut memory = PROCESS_MEMORY_COUNTERS::default();
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the structure has the size that is said, and is written to; the pseudo handle is always good.
    let done = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &mut memory, size) };
    (done != 0).then_some(memory.WorkingSetSize as u64)
}

fn handles() -> Option<u64> {
    let mut count = 0;
    // SAFETY: the number is written to where it is said; the pseudo handle is always good.
    let done = unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) };
    (done != 0).then_some(count.into())
}

fn objects(of: u32) -> u64 {
    // SAFETY: no condition; the pseudo handle is always good.
    unsafe { GetGuiResources(GetCurrentProcess(), of) }.into()
}
