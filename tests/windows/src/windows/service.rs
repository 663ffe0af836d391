//! keyrx as a service: the service manager of this Windows, or a console in its place, and what it has started.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::Duration;

use keyrx_platform::native::process::Process as Watched;
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::Security::{
    DuplicateTokenEx, GetTokenInformation, SecurityImpersonation, TOKEN_ALL_ACCESS, TOKEN_DUPLICATE,
    TOKEN_LINKED_TOKEN, TOKEN_QUERY, TokenLinkedToken, TokenPrimary,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, OpenSCManagerW, OpenServiceW, QueryServiceStatusEx,
    SC_MANAGER_CONNECT, SC_STATUS_PROCESS_INFO, SERVICE_CONTROL_STOP, SERVICE_QUERY_STATUS, SERVICE_START,
    SERVICE_STATUS, SERVICE_STATUS_PROCESS, SERVICE_STOP, StartServiceW,
};
use windows_sys::Win32::System::Threading::{
    CreateProcessAsUserW, GetCurrentProcess, OpenProcessToken, OpenThread, PROCESS_INFORMATION, ResumeThread,
    STARTUPINFOW, SuspendThread, THREAD_SUSPEND_RESUME,
};
use windows_sys::w;

use super::process::{Process, Says};
use super::scene::Scene;
use super::time::{ms, now};
use super::unix;

/// What every keymap of these cases does.
pub const KEYMAP: &str = r#"map("A", "B");"#;

/// The service, with the directories that it and the users of the machine have.
pub struct Service {
    /// A copy of keyrx of its own: by its path the processes are found.
    pub program: PathBuf,
    pub health_port: u16,
    console: Option<Process>,
}

impl Service {
    /// Everything is as on a machine that has never had it, but for the settings, and a keymap for all users.
    pub fn new(scene: &Scene) -> Service {
        for place in [machine(), user()] {
            let begin = now();
            // Of a case that has failed somebody may still be there.
            while place.exists() && fs::remove_dir_all(&place).is_err() {
                assert!(now() - begin < ms(8000), "{} is in use", place.display());
                std::thread::sleep(ms(100));
            }
        }
        let program = scene.home().join("keyrx.exe");
        fs::copy(scene.keyrx_exe(), &program).unwrap();
        // Nobody else listens there now.
        let health_port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let service = Service { program, health_port, console: None };
        fs::create_dir_all(machine().join("profiles")).unwrap();
        let settings = format!("injected = \"map\"\nport = 0\nhealth_port = {health_port}\n");
        fs::write(machine().join("keyrx.toml"), settings).unwrap();
        service.keymap(KEYMAP);
        service
    }

    pub fn keymap(&self, text: &str) {
        fs::write(machine().join("profiles").join("default.rhai"), text).unwrap();
    }

    /// `keyrx service ...`: its exit code, and what it said.
    pub fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        self.begin(words, Says::Stdout).end()
    }

    /// As `command`, without waiting for its end.
    pub fn begin(&self, words: &[&str], says: Says) -> Process {
        let mut command = Command::new(&self.program);
        command.arg("service").args(words).env_remove("KEYRX_STATE_DIR");
        Process::start(&mut command, says)
    }

    /// As `command`: its exit code, and what it said of what is wrong.
    pub fn complaint(&self, words: &[&str]) -> (Option<i32>, String) {
        self.begin(words, Says::Stderr).end()
    }

    /// As `command`, which has to succeed.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> String {
        let (code, said) = self.command(words);
        assert_eq!(code, Some(0), "keyrx service {}: {said}", words.join(" "));
        said
    }

    /// Starts it in a console, where it can be killed.
    pub fn start_in_console(&mut self) {
        self.start_in_console_with(&[]);
    }

    /// As `start_in_console`, with more arguments.
    pub fn start_in_console_with(&mut self, more: &[&str]) {
        let mut command = Command::new(&self.program);
        command.args(["service", "run", "--console"]).args(more).env_remove("KEYRX_INJECTED");
        self.console = Some(Process::start(&mut command, Says::Stderr));
    }

    /// Kills the service that was started in a console, and nothing else.
    pub fn kill_console(&mut self) {
        self.console.take().expect("it runs in a console").kill();
    }

    /// Ctrl+C, and how it ended.
    pub fn stop_console(&mut self) -> (Option<i32>, String) {
        unix::interrupt(&format!("{} service run", self.program.display()));
        self.console.take().expect("it runs in a console").end()
    }

    /// The keyrx in the user's session: who says in the file for it that it runs.
    pub fn pid(&self) -> Option<u32> {
        self.field("\"pid\":").and_then(|pid| pid.parse().ok())
    }

    /// Its port.
    pub fn port(&self) -> Option<u16> {
        self.field("\"port\":").and_then(|port| port.parse().ok())
    }

    fn field(&self, name: &str) -> Option<String> {
        let files = fs::read_dir(user()).ok()?.flatten().map(|entry| entry.path());
        let pid = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "pid"))?;
        let who = fs::read_to_string(pid).ok()?;
        Some(who.split(name).nth(1)?.split([',', '}']).next()?.trim().to_owned())
    }

    /// The running keyrx of the user's session.
    #[track_caller]
    pub fn keyrx(&self) -> Watched {
        Watched::open(self.pid().expect("keyrx has said that it runs")).expect("keyrx runs")
    }

    /// Waits until the user's session has a keyrx that maps.
    pub fn until_mapped(&self, scene: &mut Scene) {
        scene.until_mapped(ms(15_000));
    }

    /// What the service says at its own port: the status code, and the body.
    pub fn asked(&self, path: &str) -> (u16, String) {
        ask(self.health_port, path).unwrap_or_default()
    }

    /// Waits until `/health` of the service says a word.
    pub fn until_health(&self, scene: &mut Scene, word: &str) -> String {
        let mut last = String::new();
        let begin = now();
        while now() - begin < ms(20_000) {
            last = self.asked("/health").1;
            if last.contains(word) {
                return last;
            }
            scene.watch(ms(20));
        }
        panic!("/health does not say {word:?}: {last}");
    }

    /// The log of the service.
    pub fn log(&self) -> String {
        fs::read_to_string(machine().join("service.log")).unwrap_or_default()
    }

    /// Lines of the log with a word.
    pub fn logged(&self, word: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.console = None;
        let _ = self.command(&["uninstall"]);
        let ours =
            |it: &Watched| it.identity().is_ok_and(|it| it.image.file_name() == self.program.file_name());
        if let Some(keyrx) = self.pid().and_then(|pid| Watched::open(pid).ok()).filter(ours) {
            let _ = keyrx.terminate(1);
            keyrx.wait();
        }
        // Of a case that has failed there is something to be seen.
        if !std::thread::panicking() {
            for place in [machine(), user()] {
                let _ = fs::remove_dir_all(place);
            }
        }
    }
}

/// Runs a program with arguments as the same user without the rights of an administrator; how it ends.
pub fn run_without_rights(program: &Path, arguments: &str) -> u32 {
    let owned = |handle| {
        // SAFETY: every caller has just been given the handle, and nobody else has it.
        unsafe { OwnedHandle::from_raw_handle(handle) }
    };
    let mut token = null_mut();
    // SAFETY: the handle is written to; the pseudo handle is always good.
    let done = unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY | TOKEN_DUPLICATE, &mut token) };
    assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    let token = owned(token);
    let mut linked = TOKEN_LINKED_TOKEN::default();
    let mut length = 0;
    // SAFETY: the token is open; there is room for the structure of this class.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenLinkedToken,
            (&raw mut linked).cast(),
            size_of_val(&linked) as u32,
            &mut length,
        )
    };
    assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    let linked = owned(linked.LinkedToken);
    let mut primary = null_mut();
    // SAFETY: the token is open; the handle is written to; no attributes.
    let done = unsafe {
        DuplicateTokenEx(
            linked.as_raw_handle(),
            TOKEN_ALL_ACCESS,
            null(),
            SecurityImpersonation,
            TokenPrimary,
            &mut primary,
        )
    };
    assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    let primary = owned(primary);
    let line = format!("\"{}\" {arguments}", program.display());
    let mut line = line.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let startup = STARTUPINFOW { cb: size_of::<STARTUPINFOW>() as u32, ..STARTUPINFOW::default() };
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: the line ends with a zero; everything lives as long as the call.
    let done = unsafe {
        CreateProcessAsUserW(
            primary.as_raw_handle(),
            null(),
            line.as_mut_ptr(),
            null(),
            null(),
            0,
            0,
            null(),
            null(),
            &startup,
            &mut made,
        )
    };
    assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    drop(owned(made.hThread));
    let process = Watched::from(owned(made.hProcess));
    process.wait();
    process.exit_code().expect("it has ended")
}

/// Has a process hang, with all its threads.
pub fn freeze(pid: u32) {
    // SAFETY: no condition; one that could not be opened fails.
    let count = each_thread(pid, |thread| unsafe { SuspendThread(thread) });
    assert!(count > 5, "only {count} threads of {pid} hang");
}

/// A process that stands still, until this is dropped.
pub struct Paused(u32);

impl Paused {
    pub fn new(pid: u32) -> Paused {
        // SAFETY: as above.
        assert!(each_thread(pid, |thread| unsafe { SuspendThread(thread) }) > 0, "{pid} is not there");
        Paused(pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // SAFETY: as above.
        each_thread(self.0, |thread| unsafe { ResumeThread(thread) });
    }
}

/// Does something with each thread of a process, which is `u32::MAX` where it fails. How often it did not.
fn each_thread(pid: u32, act: impl Fn(HANDLE) -> u32) -> u32 {
    let mut count = 0;
    // SAFETY: no condition.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    // SAFETY: the snapshot is open; the entry says its size.
    let mut is_there = unsafe { Thread32First(snapshot, &mut entry) };
    while is_there != 0 {
        if entry.th32OwnerProcessID == pid {
            // SAFETY: no condition.
            let thread = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) };
            count += u32::from(act(thread) != u32::MAX);
            // SAFETY: one that could not be opened fails.
            unsafe { CloseHandle(thread) };
        }
        // SAFETY: as above.
        is_there = unsafe { Thread32Next(snapshot, &mut entry) };
    }
    // SAFETY: it was opened above and is used no more.
    unsafe { CloseHandle(snapshot) };
    count
}

/// What all users of the machine have.
pub fn machine() -> PathBuf {
    keyrx_platform::native::folders::shared().unwrap().join("keyrx")
}

/// What the keyrx of the user keeps.
pub fn user() -> PathBuf {
    Path::new(&std::env::var_os("LOCALAPPDATA").expect("a user has it")).join("keyrx")
}

pub fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// What the service manager shows of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub state: u32,
    pub checkpoint: u32,
    pub pid: u32,
}

/// Asks the service manager to start it, and looks at it all the time until it is in the state that is waited for:
/// everything that was shown, without repetitions.
pub fn start_and_watch(until: u32) -> Vec<Shown> {
    watch(SERVICE_QUERY_STATUS | SERVICE_START, until, |service| {
        // SAFETY: the service is open; no arguments.
        assert_ne!(unsafe { StartServiceW(service, 0, null()) }, 0, "{}", std::io::Error::last_os_error());
    })
}

/// Asks the service manager to stop it, and looks at it as `start_and_watch` does.
pub fn stop_and_watch(until: u32) -> Vec<Shown> {
    watch(SERVICE_QUERY_STATUS | SERVICE_STOP, until, |service| {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: the service is open; the status is written to.
        let done = unsafe { ControlService(service, SERVICE_CONTROL_STOP, &mut status) };
        assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    })
}

/// Looks at it while something is done.
pub fn watch(rights: u32, until: u32, act: impl FnOnce(*mut core::ffi::c_void)) -> Vec<Shown> {
    // SAFETY: this machine.
    let manager = unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_CONNECT) };
    // SAFETY: the manager is open; the name is a constant that ends with 0.
    let service = unsafe { OpenServiceW(manager, w!("keyrx"), rights) };
    assert!(!service.is_null(), "the service is not there");
    act(service);
    let begin = now();
    let mut shown: Vec<Shown> = Vec::new();
    while now() - begin < ms(20_000) && shown.last().is_none_or(|last| last.state != until) {
        let mut status = SERVICE_STATUS_PROCESS::default();
        let mut needed = 0;
        // SAFETY: the service is open; there is room for the structure of this class.
        let done = unsafe {
            QueryServiceStatusEx(
                service,
                SC_STATUS_PROCESS_INFO,
                (&raw mut status).cast(),
                size_of::<SERVICE_STATUS_PROCESS>() as u32,
                &mut needed,
            )
        };
        assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
        let now =
            Shown { state: status.dwCurrentState, checkpoint: status.dwCheckPoint, pid: status.dwProcessId };
        if shown.last() != Some(&now) {
            shown.push(now);
        }
    }
    // SAFETY: both were opened above and are used no more.
    unsafe {
        CloseServiceHandle(service);
        CloseServiceHandle(manager);
    }
    shown
}
