//! The sessions of users, and programs in them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_NO_TOKEN, ERROR_PRIVILEGE_NOT_HELD, HANDLE};
use windows_sys::Win32::Security::{
    DuplicateTokenEx, SecurityImpersonation, SetTokenInformation, TOKEN_ADJUST_DEFAULT,
    TOKEN_ADJUST_SESSIONID, TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_QUERY, TokenPrimary, TokenUIAccess,
};
use windows_sys::Win32::System::Environment::{CreateEnvironmentBlock, DestroyEnvironmentBlock};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::RemoteDesktop::{
    WTS_SESSION_INFOW, WTSActive, WTSConnected, WTSDisconnected, WTSEnumerateSessionsW, WTSFreeMemory,
    WTSGetActiveConsoleSessionId, WTSQueryUserToken,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, GetCurrentProcess, OpenProcessToken,
    PROCESS_INFORMATION, STARTUPINFOW,
};

use super::process::Process;

/// keyrx needs a tenth of it.
const MOST_MEMORY: usize = 256 << 20;

/// No session.
const NONE: u32 = u32::MAX;

/// The sessions that a user may be in, logged on or not. That of the services is none.
pub fn sessions() -> io::Result<Vec<u32>> {
    let mut list: *mut WTS_SESSION_INFOW = null_mut();
    let mut count = 0;
    // SAFETY: the list and its length are written to; no server means this machine.
    let done = unsafe { WTSEnumerateSessionsW(null_mut(), 0, 1, &mut list, &mut count) };
    let error = io::Error::last_os_error();
    let mut found = Vec::new();
    if done != 0 && !list.is_null() {
        // SAFETY: the system says how many there are.
        let all = unsafe { std::slice::from_raw_parts(list, count as usize) };
        let has_user = |session: &&WTS_SESSION_INFOW| matches!(session.State, state if state == WTSActive || state == WTSConnected || state == WTSDisconnected);
        found.extend(all.iter().filter(has_user).map(|session| session.SessionId).filter(|id| *id != 0));
        // SAFETY: the system made the list for us, and nobody uses it any more.
        unsafe { WTSFreeMemory(list.cast()) };
    }
    if found.is_empty() {
        // SAFETY: no condition.
        let console = unsafe { WTSGetActiveConsoleSessionId() };
        found.extend([console].into_iter().filter(|id| *id != 0 && *id != NONE));
    }
    if found.is_empty() && done == 0 { Err(error) } else { Ok(found) }
}

/// A program that runs in a session.
#[derive(Debug)]
pub struct Launched {
    /// The program.
    pub process: Process,
    /// What could not be had for it.
    pub warnings: Vec<Lacking>,
}

/// Something that a program runs without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// What, and why.
    pub missing: String,
    /// What does not work therefore.
    pub consequence: &'static str,
}

/// Starts a program in a session, as the user who is logged on there; `NotFound`: nobody is. It has the user's
/// environment with `variables`, no console, and none of our handles. With UI access, if it can be had, it serves the
/// windows of programs with higher rights, too.
///
/// Who is no service may not act for users: then the program is started as we are, with a warning.
pub fn launch(
    session: u32,
    program: &Path,
    arguments: &[OsString],
    variables: &[(OsString, OsString)],
) -> io::Result<Launched> {
    let mut warnings = Vec::new();
    let token = match user(session) {
        Ok(token) => token,
        Err(error) if is(&error, ERROR_NO_TOKEN) => return Err(io::ErrorKind::NotFound.into()),
        Err(error) if is(&error, ERROR_PRIVILEGE_NOT_HELD) || is(&error, ERROR_ACCESS_DENIED) => {
            warnings.push(Lacking {
                missing: format!("the right to act for users ({error})"),
                consequence: "keyrx runs as whoever runs the service",
            });
            own()?
        }
        Err(error) => return Err(error),
    };
    let token = primary(&token)?;
    if let Err(error) = give_ui_access(&token) {
        warnings.push(Lacking {
            missing: format!("UI access ({error})"),
            consequence: "keys are not mapped in windows of programs that run as administrator",
        });
    }
    let environment = environment(&token, variables)?;
    let application = wide(program.as_os_str());
    let mut line = command_line(program, arguments);
    let mut desktop = wide(OsStr::new(r"winsta0\default"));
    let startup = STARTUPINFOW {
        cb: size_of::<STARTUPINFOW>() as u32,
        lpDesktop: desktop.as_mut_ptr(),
        ..STARTUPINFOW::default()
    };
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: all texts end with a zero, the environment with two; everything lives as long as the call.
    let done = unsafe {
        CreateProcessAsUserW(
            token.as_raw_handle(),
            application.as_ptr(),
            line.as_mut_ptr(),
            null(),
            null(),
            0,
            CREATE_UNICODE_ENVIRONMENT | CREATE_NO_WINDOW,
            environment.as_ptr().cast(),
            null(),
            &startup,
            &mut made,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    drop(unsafe { OwnedHandle::from_raw_handle(made.hThread) });
    // SAFETY: as above.
    let process = unsafe { OwnedHandle::from_raw_handle(made.hProcess) };
    if let Err(error) = bound(&process) {
        warnings.push(Lacking {
            missing: format!("a job object ({error})"),
            consequence: "nothing bounds its memory",
        });
    }
    Ok(Launched { process: process.into(), warnings })
}

/// Puts a process into a job that bounds its memory, so that a mistake of ours costs one process and not the machine. The
/// job is there as long as the process, which outlives whoever has started it.
fn bound(process: &OwnedHandle) -> io::Result<()> {
    // SAFETY: no attributes, no name.
    let job = unsafe { CreateJobObjectW(null(), null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    let job = unsafe { OwnedHandle::from_raw_handle(job) };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    // What it starts is bound by nothing of ours.
    limits.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_PROCESS_MEMORY | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK;
    limits.ProcessMemoryLimit = MOST_MEMORY;
    // SAFETY: the job is open; the structure is the one of this class.
    let done = unsafe {
        SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const limits).cast(),
            size_of_val(&limits) as u32,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are open.
    let done = unsafe { AssignProcessToJobObject(job.as_raw_handle(), process.as_raw_handle()) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}

/// The rights of the user of a session.
fn user(session: u32) -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the handle is written to.
    if unsafe { WTSQueryUserToken(session, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// Our own rights.
fn own() -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    let rights = TOKEN_DUPLICATE | TOKEN_QUERY;
    // SAFETY: the handle is written to; the pseudo handle is always good.
    if unsafe { OpenProcessToken(GetCurrentProcess(), rights, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// The same rights, for a process.
fn primary(token: &OwnedHandle) -> io::Result<OwnedHandle> {
    let rights =
        TOKEN_ASSIGN_PRIMARY | TOKEN_DUPLICATE | TOKEN_QUERY | TOKEN_ADJUST_DEFAULT | TOKEN_ADJUST_SESSIONID;
    let mut copy: HANDLE = null_mut();
    // SAFETY: the token is open; the handle is written to; no attributes.
    let done = unsafe {
        DuplicateTokenEx(
            token.as_raw_handle(),
            rights,
            null(),
            SecurityImpersonation,
            TokenPrimary,
            &mut copy,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

fn give_ui_access(token: &OwnedHandle) -> io::Result<()> {
    let yes = 1_u32;
    // SAFETY: the token is open; this class takes a number of four bytes.
    let done =
        unsafe { SetTokenInformation(token.as_raw_handle(), TokenUIAccess, (&raw const yes).cast(), 4) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The variables of the user and ours, as the system wants them: sorted, each with a zero behind it, and one more.
fn environment(token: &OwnedHandle, variables: &[(OsString, OsString)]) -> io::Result<Vec<u16>> {
    let mut block = null_mut();
    // SAFETY: the token is open; the block is written to.
    if unsafe { CreateEnvironmentBlock(&mut block, token.as_raw_handle(), 0) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut units = Vec::new();
    let first: *const u16 = block.cast();
    loop {
        // SAFETY: the block ends with two zeros, and nothing behind them is read.
        let unit = unsafe { *first.add(units.len()) };
        if unit == 0 && units.last().is_none_or(|last| *last == 0) {
            break;
        }
        units.push(unit);
    }
    // SAFETY: the system made it for us, and nobody uses it any more.
    unsafe { DestroyEnvironmentBlock(block) };
    Ok(merged(&units, variables))
}

fn merged(block: &[u16], variables: &[(OsString, OsString)]) -> Vec<u16> {
    const EQUALS: u16 = b'=' as u16;
    let mut all = BTreeMap::new();
    // A name may begin with the sign that ends it.
    for entry in block.split(|unit| *unit == 0).filter(|entry| !entry.is_empty()) {
        let end = entry.iter().skip(1).position(|unit| *unit == EQUALS).map_or(entry.len(), |at| at + 1);
        let name = OsString::from_wide(entry.get(..end).unwrap_or_default());
        all.insert(name.to_ascii_uppercase(), entry.to_vec());
    }
    for (name, value) in variables {
        let entry = name.encode_wide().chain([EQUALS]).chain(value.encode_wide()).collect();
        all.insert(name.to_ascii_uppercase(), entry);
    }
    let mut merged = all.into_values().flat_map(|entry| entry.into_iter().chain([0])).collect::<Vec<u16>>();
    merged.push(0);
    merged
}

/// Program and arguments in one line, as programs take it apart.
fn command_line(program: &Path, arguments: &[OsString]) -> Vec<u16> {
    let mut line = Vec::new();
    quote(program.as_os_str(), &mut line);
    for argument in arguments {
        line.push(u16::from(b' '));
        quote(argument, &mut line);
    }
    line.push(0);
    line
}

fn quote(argument: &OsStr, line: &mut Vec<u16>) {
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let is_plain = |unit: u16| unit != QUOTE && unit > u16::from(b' ');
    if !argument.is_empty() && argument.encode_wide().all(is_plain) {
        return line.extend(argument.encode_wide());
    }
    line.push(QUOTE);
    let mut backslashes = 0_usize;
    for unit in argument.encode_wide() {
        if unit == BACKSLASH {
            backslashes = backslashes.saturating_add(1);
        } else {
            if unit == QUOTE {
                // Before a quote each counts for half of one.
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes.saturating_add(1)));
            }
            backslashes = 0;
        }
        line.push(unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::UI::Shell::CommandLineToArgvW;

    use super::*;

    #[test]
    fn there_is_a_session_and_it_is_no_service() {
        let all = sessions().unwrap();
        assert!(!all.is_empty() && !all.contains(&0), "{all:?}");
    }

    #[test]
    fn a_program_runs_in_a_session_with_our_variables_and_its_end_is_seen() {
        let session = sessions().unwrap()[0];
        let cmd = Path::new(r"C:\windows\system32\cmd.exe");
        let arguments = ["/c", "exit", "%KEYRX_TEST%"].map(OsString::from);
        let variables = [("KEYRX_TEST".into(), "7".into())];
        let launched = launch(session, cmd, &arguments, &variables).unwrap();
        launched.process.wait();
        assert_eq!(launched.process.exit_code(), Some(7));
    }

    #[test]
    fn what_is_no_program_cannot_be_started() {
        let session = sessions().unwrap()[0];
        assert!(launch(session, Path::new(r"C:\none.exe"), &[], &[]).is_err());
    }

    #[test]
    fn arguments_arrive_as_they_are() {
        let program = Path::new(r"C:\Program Files\keyrx\keyrx.exe");
        let arguments =
            ["plain", "", "a b", r#"say "it""#, r"C:\dir\", r#"\\"\"#, "ä\u{1f600}"].map(OsString::from);
        let line = command_line(program, &arguments);
        let mut count = 0;
        // SAFETY: the line ends with a zero; the number is written to.
        let list = unsafe { CommandLineToArgvW(line.as_ptr(), &mut count) };
        let parsed = (0..count as usize).map(|at| {
            // SAFETY: there are so many texts, each with a zero behind it.
            let text = unsafe { *list.add(at) };
            let length = (0..).take_while(|at| {
                // SAFETY: as above; what is behind the zero is not read.
                unsafe { *text.add(*at) != 0 }
            });
            let length = length.count();
            // SAFETY: as above.
            OsString::from_wide(unsafe { std::slice::from_raw_parts(text, length) })
        });
        let expected = std::iter::once(program.into()).chain(arguments).collect::<Vec<OsString>>();
        assert_eq!(parsed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn our_variables_replace_those_of_the_user_and_all_are_sorted() {
        let block = "=C:=C:\\\0Path=x\0ZED=z\0".encode_utf16().collect::<Vec<_>>();
        let variables = [("PATH", "y"), ("Alpha", "1")].map(|(name, value)| (name.into(), value.into()));
        let merged = String::from_utf16(&merged(&block, &variables)).unwrap();
        assert_eq!(merged, "=C:=C:\\\0Alpha=1\0PATH=y\0ZED=z\0\0");
    }
}
