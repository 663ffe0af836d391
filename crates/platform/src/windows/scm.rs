//! The service manager (SCM): how a process becomes a service, hears controls, and says how it is.
//!
//! What is said when is decided elsewhere. The handler is never freed: the manager may call it as long as there is a
//! process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{
    ERROR_CALL_NOT_IMPLEMENTED, ERROR_FAILED_SERVICE_CONTROLLER_CONNECT, NO_ERROR,
};
use windows_sys::Win32::System::LibraryLoader::{LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories};
use windows_sys::Win32::System::RemoteDesktop::WTSSESSION_NOTIFICATION;
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, CloseServiceHandle, OpenSCManagerW, OpenServiceW, RegisterServiceCtrlHandlerExW,
    SC_HANDLE, SC_MANAGER_CONNECT, SERVICE_ACCEPT_POWEREVENT, SERVICE_ACCEPT_PRESHUTDOWN,
    SERVICE_ACCEPT_SESSIONCHANGE, SERVICE_ACCEPT_STOP, SERVICE_CHANGE_CONFIG,
    SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_POWEREVENT,
    SERVICE_CONTROL_PRESHUTDOWN, SERVICE_CONTROL_SESSIONCHANGE, SERVICE_CONTROL_SHUTDOWN,
    SERVICE_CONTROL_STOP, SERVICE_REQUIRED_PRIVILEGES_INFOW, SERVICE_RUNNING, SERVICE_START_PENDING,
    SERVICE_STATUS, SERVICE_STATUS_HANDLE, SERVICE_STOP_PENDING, SERVICE_STOPPED, SERVICE_TABLE_ENTRYW,
    SERVICE_WIN32_OWN_PROCESS, SetServiceStatus, StartServiceCtrlDispatcherW,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    PBT_APMRESUMEAUTOMATIC, PBT_APMRESUMESUSPEND, PBT_APMSUSPEND, WTS_CONSOLE_CONNECT,
    WTS_CONSOLE_DISCONNECT, WTS_REMOTE_CONNECT, WTS_REMOTE_DISCONNECT, WTS_SESSION_LOCK, WTS_SESSION_LOGOFF,
    WTS_SESSION_LOGON, WTS_SESSION_UNLOCK,
};

/// What has become of a process that offered itself as a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// It was one, and is no more.
    Ended,
    /// The manager has not started it.
    NotAService,
}

static MAIN: OnceLock<fn()> = OnceLock::new();

/// Hands this thread to the manager, which calls `main` on another one. Returns when the service has stopped. To be
/// called once, and first of all: the manager does not wait long.
pub fn dispatch(name: &str, main: fn()) -> io::Result<Dispatched> {
    let _ = MAIN.set(main);
    let mut name = name.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let table = [
        SERVICE_TABLE_ENTRYW { lpServiceName: name.as_mut_ptr(), lpServiceProc: Some(service_main) },
        SERVICE_TABLE_ENTRYW::default(),
    ];
    // SAFETY: the table ends with an empty entry; it and the name live as long as the call.
    if unsafe { StartServiceCtrlDispatcherW(table.as_ptr()) } != 0 {
        return Ok(Dispatched::Ended);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(code) if code.cast_unsigned() == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT => {
            Ok(Dispatched::NotAService)
        }
        _ => Err(error),
    }
}

unsafe extern "system" fn service_main(_: u32, _: *mut *mut u16) {
    if let Some(main) = MAIN.get() {
        // The panic has been told by then.
        let _ = catch_unwind(main);
    }
}

/// What the manager wants, or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The service is to stop.
    Stop,
    /// The system is about to go down, and waits for us.
    Preshutdown,
    /// The system goes down.
    Shutdown,
    /// How is the service?
    Interrogate,
    /// A session of a user has changed.
    Session(SessionChange),
    /// The machine goes to sleep, or wakes up.
    Power(PowerChange),
    /// Something that we have not asked for.
    Other(u32),
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// What.
    pub kind: SessionEvent,
    /// Of which session.
    pub session: u32,
}

/// What there is to become of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Somebody has logged on, unlocked the screen, or come to it at the console or from afar.
    Came,
    /// The screen is locked, or shows another session. Who is logged on still is.
    Left,
    /// Its user has gone.
    LoggedOff,
    /// By its number.
    Other(u32),
}

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerChange {
    /// It goes to sleep.
    Suspends,
    /// It is awake again.
    Resumed,
    /// By its number.
    Other(u32),
}

impl Control {
    /// What the manager calls a handler with. The session of a change of sessions is in the data.
    fn new(control: u32, event: u32, session: Option<u32>) -> Control {
        match control {
            SERVICE_CONTROL_STOP => Control::Stop,
            SERVICE_CONTROL_PRESHUTDOWN => Control::Preshutdown,
            SERVICE_CONTROL_SHUTDOWN => Control::Shutdown,
            SERVICE_CONTROL_INTERROGATE => Control::Interrogate,
            SERVICE_CONTROL_SESSIONCHANGE => {
                let kind = match event {
                    WTS_CONSOLE_CONNECT | WTS_REMOTE_CONNECT | WTS_SESSION_LOGON | WTS_SESSION_UNLOCK => {
                        SessionEvent::Came
                    }
                    WTS_CONSOLE_DISCONNECT | WTS_REMOTE_DISCONNECT | WTS_SESSION_LOCK => SessionEvent::Left,
                    WTS_SESSION_LOGOFF => SessionEvent::LoggedOff,
                    other => SessionEvent::Other(other),
                };
                session.map_or(Control::Other(control), |session| {
                    Control::Session(SessionChange { kind, session })
                })
            }
            SERVICE_CONTROL_POWEREVENT => Control::Power(match event {
                PBT_APMSUSPEND => PowerChange::Suspends,
                PBT_APMRESUMEAUTOMATIC | PBT_APMRESUMESUSPEND => PowerChange::Resumed,
                other => PowerChange::Other(other),
            }),
            other => Control::Other(other),
        }
    }
}

/// How a service is, for the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// Whether it hears of stop, preshutdown, sessions and power.
    pub accepts: bool,
    /// Grows while something is pending.
    pub checkpoint: u32,
    /// How long until the next checkpoint at most.
    pub wait_hint_ms: u32,
    /// An error of Windows; 0 is none.
    pub exit_code: u32,
}

/// Where a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It starts.
    StartPending,
    /// It does what it is there for.
    Running,
    /// It stops.
    StopPending,
    /// It has stopped. Nothing may be said after this.
    Stopped,
}

/// The way to tell the manager.
#[derive(Debug)]
pub struct Reporter(SERVICE_STATUS_HANDLE);

// SAFETY: the handle is a number for the manager, good on every thread, and never closed.
unsafe impl Send for Reporter {}
// SAFETY: as above.
unsafe impl Sync for Reporter {}

type Tell = Box<dyn Fn(Control) + Send + Sync>;

/// Has the manager tell `tell` of controls, on a thread of its own. To be called in the service's `main`, before
/// anything else.
pub fn register(name: &str, tell: impl Fn(Control) + Send + Sync + 'static) -> io::Result<Reporter> {
    let name = name.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let tell: Tell = Box::new(tell);
    let context = Box::leak(Box::new(tell));
    // SAFETY: the name ends with a zero; the handler has the type that is wanted; what it gets is never freed.
    let handle =
        unsafe { RegisterServiceCtrlHandlerExW(name.as_ptr(), Some(handler), (&raw mut *context).cast()) };
    if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Reporter(handle)) }
}

unsafe extern "system" fn handler(
    control: u32,
    event: u32,
    data: *mut core::ffi::c_void,
    context: *mut core::ffi::c_void,
) -> u32 {
    let session = (control == SERVICE_CONTROL_SESSIONCHANGE && !data.is_null()).then(|| {
        // SAFETY: with this control the data are such a structure, for as long as the call lasts.
        unsafe { (*data.cast::<WTSSESSION_NOTIFICATION>()).dwSessionId }
    });
    let control = Control::new(control, event, session);
    // SAFETY: it was leaked by `register`, and is only read.
    let tell = unsafe { &*context.cast::<Tell>() };
    let _ = catch_unwind(AssertUnwindSafe(|| tell(control)));
    if let Control::Other(_) = control { ERROR_CALL_NOT_IMPLEMENTED } else { NO_ERROR }
}

impl Reporter {
    /// Tells it.
    pub fn report(&self, status: &Status) -> io::Result<()> {
        let accepts = SERVICE_ACCEPT_STOP
            | SERVICE_ACCEPT_PRESHUTDOWN
            | SERVICE_ACCEPT_SESSIONCHANGE
            | SERVICE_ACCEPT_POWEREVENT;
        let status = SERVICE_STATUS {
            dwServiceType: SERVICE_WIN32_OWN_PROCESS,
            dwCurrentState: match status.state {
                State::StartPending => SERVICE_START_PENDING,
                State::Running => SERVICE_RUNNING,
                State::StopPending => SERVICE_STOP_PENDING,
                State::Stopped => SERVICE_STOPPED,
            },
            dwControlsAccepted: if status.accepts { accepts } else { 0 },
            dwWin32ExitCode: status.exit_code,
            dwServiceSpecificExitCode: 0,
            dwCheckPoint: status.checkpoint,
            dwWaitHint: status.wait_hint_ms,
        };
        // SAFETY: the handle is the manager's; the structure lives as long as the call.
        let done = unsafe { SetServiceStatus(self.0, &status) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Has a service run with these privileges alone.
pub fn require_privileges(name: &str, privileges: &[&str]) -> io::Result<()> {
    let name = name.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let mut list =
        privileges.iter().flat_map(|it| it.encode_utf16().chain([0])).chain([0]).collect::<Vec<u16>>();
    // SAFETY: this machine, and the services that are there.
    let manager = Handle::new(unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_CONNECT) })?;
    // SAFETY: the manager is open; the name ends with a zero.
    let service = Handle::new(unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_CHANGE_CONFIG) })?;
    let wanted = SERVICE_REQUIRED_PRIVILEGES_INFOW { pmszRequiredPrivileges: list.as_mut_ptr() };
    // SAFETY: the service is open; the structure is the one of this class, and its list ends with two zeros.
    let done = unsafe {
        ChangeServiceConfig2W(service.0, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, (&raw const wanted).cast())
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Something of the manager's that is open.
struct Handle(SC_HANDLE);

impl Handle {
    fn new(handle: SC_HANDLE) -> io::Result<Handle> {
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Handle(handle)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and no longer used.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// From here on libraries are loaded from the system's directory alone. Where that cannot be had, as before.
pub fn restrict_dll_search() {
    // SAFETY: no condition.
    unsafe { SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32) };
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_program_from_a_console_is_no_service() {
        assert_eq!(dispatch("keyrx-test", || {}).unwrap(), Dispatched::NotAService);
    }

    #[test]
    fn what_the_manager_says_is_understood() {
        let (tell, told) = channel();
        let tell: Tell = Box::new(move |control| tell.send(control).unwrap());
        let context = Box::leak(Box::new(tell));
        let mut say = |control, event, session: Option<u32>| {
            let mut data = WTSSESSION_NOTIFICATION { cbSize: 8, dwSessionId: session.unwrap_or_default() };
            let data = session.map_or(std::ptr::null_mut(), |_| (&raw mut data).cast());
            // SAFETY: as the manager calls it.
            let answer = unsafe { handler(control, event, data, (&raw mut *context).cast()) };
            (told.recv().unwrap(), answer)
        };
        assert_eq!(say(1, 0, None), (Control::Stop, NO_ERROR));
        assert_eq!(say(0xf, 0, None), (Control::Preshutdown, NO_ERROR));
        assert_eq!(say(4, 0, None), (Control::Interrogate, NO_ERROR));
        assert_eq!(say(5, 0, None), (Control::Shutdown, NO_ERROR));
        for (event, kind) in [
            (1, SessionEvent::Came),
            (2, SessionEvent::Left),
            (3, SessionEvent::Came),
            (4, SessionEvent::Left),
            (5, SessionEvent::Came),
            (6, SessionEvent::LoggedOff),
            (7, SessionEvent::Left),
            (8, SessionEvent::Came),
            (9, SessionEvent::Other(9)),
        ] {
            let expected = Control::Session(SessionChange { kind, session: 3 });
            assert_eq!(say(0xe, event, Some(3)), (expected, NO_ERROR));
        }
        assert_eq!(say(0xe, 5, None).0, Control::Other(0xe), "no session is told");
        assert_eq!(say(0xd, 4, None).0, Control::Power(PowerChange::Suspends));
        assert_eq!(say(0xd, 0x12, None).0, Control::Power(PowerChange::Resumed));
        assert_eq!(say(0xd, 7, None).0, Control::Power(PowerChange::Resumed));
        assert_eq!(say(200, 0, None), (Control::Other(200), ERROR_CALL_NOT_IMPLEMENTED));
    }

    #[test]
    fn a_panic_of_the_handler_does_not_reach_the_manager() {
        let tell: Tell = Box::new(|_| panic!("as is meant"));
        let context = Box::leak(Box::new(tell));
        // SAFETY: as the manager calls it.
        let answer = unsafe { handler(1, 0, std::ptr::null_mut(), (&raw mut *context).cast()) };
        assert_eq!(answer, NO_ERROR);
    }
}
