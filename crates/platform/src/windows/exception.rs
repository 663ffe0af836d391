//! What is done when the process is about to die of an exception: another process is started that looks at it.
//!
//! The process may be broken in any way by then, so as little as possible is done in it. Whatever becomes of it, the
//! system gets the exception afterwards, and Windows Error Reporting with it. A process that aborts does not come by
//! here: it dies at once.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::Foundation::CloseHandle;
use windows_sys::Win32::System::Diagnostics::Debug::{
    EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS, SetUnhandledExceptionFilter,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CreateProcessW, GetCurrentThreadId, PROCESS_INFORMATION, STARTUPINFOW,
    WaitForSingleObject,
};

/// So long the other process may take.
const LIMIT_MS: u32 = 3000;

/// The command line of the other process, without the thread and the address that are put behind it.
static COMMAND: OnceLock<Vec<u16>> = OnceLock::new();

/// Has `program` started with `arguments`, then the number of the thread and the address of what happened. To be called
/// once.
pub fn watch(program: &Path, arguments: &str) {
    let program = program.as_os_str().encode_wide();
    let quote = u16::from(b'"');
    let line = [quote].into_iter().chain(program).chain([quote, u16::from(b' ')]);
    let _ = COMMAND.set(line.chain(arguments.encode_utf16()).collect());
    // SAFETY: the function has the type that is wanted, and is there as long as the process.
    unsafe { SetUnhandledExceptionFilter(Some(filter)) };
}

unsafe extern "system" fn filter(pointers: *const EXCEPTION_POINTERS) -> i32 {
    static IS_DYING: AtomicBool = AtomicBool::new(false);
    if !IS_DYING.swap(true, Ordering::AcqRel) {
        // SAFETY: no condition.
        let thread = unsafe { GetCurrentThreadId() };
        let _ = look(thread, pointers as usize);
    }
    EXCEPTION_CONTINUE_SEARCH
}

fn look(thread: u32, pointers: usize) -> io::Result<()> {
    let Some(command) = COMMAND.get() else { return Ok(()) };
    // On the stack: the heap may be what is broken.
    let mut line = [0_u16; 2048];
    let places = line.iter_mut().zip(command.iter().copied());
    places.for_each(|(place, unit)| *place = unit);
    let mut at = command.len();
    for number in [u64::from(thread), pointers as u64] {
        let mut digits = [0_u16; 21];
        let mut rest = number;
        let mut count = 0;
        for place in digits.iter_mut().rev() {
            *place = u16::from(b'0') + (rest % 10) as u16;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let digits = digits.iter().skip(digits.len() - count);
        for (place, unit) in line.iter_mut().skip(at).zip([u16::from(b' ')].iter().chain(digits)) {
            *place = *unit;
        }
        at = at.saturating_add(count).saturating_add(1);
    }
    if at >= line.len() {
        return Ok(());
    }
    let startup = STARTUPINFOW { cb: size_of::<STARTUPINFOW>() as u32, ..STARTUPINFOW::default() };
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: the line ends with a zero; everything lives as long as the call.
    let done = unsafe {
        CreateProcessW(
            null(),
            line.as_mut_ptr(),
            null(),
            null(),
            0,
            CREATE_NO_WINDOW,
            null_mut(),
            null(),
            &startup,
            &mut made,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and open.
    unsafe { WaitForSingleObject(made.hProcess, LIMIT_MS) };
    // SAFETY: both are ours and used no more.
    unsafe {
        CloseHandle(made.hProcess);
        CloseHandle(made.hThread);
    }
    Ok(())
}

/// For tests: dies of an access to memory that is not there.
pub fn fault() {
    // SAFETY: there is none. It is what is wanted.
    unsafe { std::ptr::dangling::<u64>().wrapping_add(usize::MAX / 16).read_volatile() };
}
