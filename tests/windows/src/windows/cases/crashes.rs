//! Dumps of keyrx: written from outside, and fit to be read where there is no Windows.

use std::ffi::c_void;
use std::fs;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use minidump::{Minidump, MinidumpException, MinidumpModuleList, MinidumpThreadList, Module};
use windows_sys::Win32::Foundation::STATUS_ACCESS_VIOLATION;
use windows_sys::Win32::System::Threading::{CreateRemoteThread, OpenProcess, PROCESS_ALL_ACCESS};

use super::Case;
use crate::windows::process::Process;
use crate::windows::scene::Scene;
use crate::windows::time::ms;

const KEYMAP: &str = r#"map("A", "B"); map("F", "LShift");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a dump of a keyrx that runs has its threads and modules, and it goes on",
        run: |scene| {
            scene.keyrx(KEYMAP);
            let file = scene.home().join("running.dmp");
            let (pid, path) = (scene.keyrx_id().to_string(), file.to_str().unwrap().to_owned());
            let limits = ["--limit-ms", "60000", "--exit-code", "70"];
            let what = ["crashes", "write", "--pid", &pid, "--file", &path];
            assert_eq!(scene.command(&[&what[..], &limits].concat()).0, Some(0));
            check(&file);
            // Wine passes a hook over that stood still for five seconds, until its thread is woken: keys say nothing here.
            let (code, said) = scene.command(&["health"]);
            assert!(code == Some(0) && said.starts_with("healthy"), "{said}");
        },
    },
    Case {
        name: "a keyrx that Windows ends leaves a report and a dump with the exception, and no key held",
        run: |scene| {
            let _quiet = NoDebugger::set();
            scene.keyrx_with_dumps(KEYMAP);
            scene.type_keys("+F 20 +A 50");
            let pid = scene.keyrx_id();
            violate(pid);
            scene.ended_within(ms(90_000));
            scene.type_keys("-A -F 100");
            scene.nothing_is_down();
            scene.check_native("+A 50 -A");
            let said = list(scene);
            assert!(said.contains(r#""cause": "exception""#) && said.contains("0xc0000005"), "{said}");
            assert!(said.contains(&format!(r#""pid": {pid},"#)), "{said}");
            let dump = check(&only_dump(scene));
            let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
            assert_eq!(exception.raw.exception_record.exception_code, STATUS_ACCESS_VIOLATION as u32);
            let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap();
            assert!(threads.get_thread(exception.thread_id).is_some(), "{}", exception.thread_id);
        },
    },
    Case {
        name: "a keyrx that hangs for good leaves a report and a dump",
        run: |scene| {
            scene.keyrx_with_dumps(KEYMAP);
            scene.fault(r#"{"point":"session","stall_ms":600000}"#);
            scene.type_keys("+Q -Q");
            assert_eq!(scene.ended_within(ms(90_000)).code(), Some(70));
            let said = list(scene);
            assert!(said.contains(r#""cause": "stalled""#), "{said}");
            check(&only_dump(scene));
        },
    },
    Case {
        name: "a dump that takes too long ends who is dumped, and is none",
        run: |scene| {
            scene.keyrx(KEYMAP);
            let file = scene.home().join("late.dmp");
            let (pid, path) = (scene.keyrx_id().to_string(), file.to_str().unwrap().to_owned());
            let what =
                ["crashes", "write", "--pid", &pid, "--file", &path, "--limit-ms", "1", "--exit-code", "75"];
            assert_eq!(scene.command(&what).0, Some(70));
            assert_eq!(scene.ended().code(), Some(75));
            assert!(!file.exists() && !file.with_extension("dmp.new").exists());
            crate::windows::state::release_all();
        },
    },
];

/// What keyrx says of its crashes.
fn list(scene: &mut Scene) -> String {
    let (code, said) = scene.command(&["crashes", "list", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    said
}

fn only_dump(scene: &Scene) -> PathBuf {
    let files = fs::read_dir(scene.home().join("state/crashes")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let dumps = files.filter(|path| path.extension().is_some_and(|end| end == "dmp")).collect::<Vec<_>>();
    let [dump] = &dumps[..] else { panic!("{dumps:?}") };
    dump.clone()
}

/// Reads a dump, which must have what helps.
pub fn check(file: &Path) -> Minidump<'static, Vec<u8>> {
    let dump = Minidump::read(fs::read(file).unwrap()).unwrap();
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap().threads.len();
    assert!(threads > 4, "{threads}");
    let modules = dump.get_stream::<MinidumpModuleList>().unwrap();
    let names = modules.iter().map(|module| module.code_file().to_lowercase()).collect::<Vec<_>>();
    assert!(names.iter().any(|name| name.ends_with("keyrx.exe")), "{names:?}");
    dump
}

/// Wine starts its debugger for whoever crashes, which waits for somebody to look; not so while this lives.
struct NoDebugger;

impl NoDebugger {
    fn set() -> NoDebugger {
        set_debugger("cmd /c exit");
        NoDebugger
    }
}

impl Drop for NoDebugger {
    fn drop(&mut self) {
        set_debugger("winedbg --auto %ld %ld");
    }
}

fn set_debugger(command: &str) {
    let key = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug";
    for (value, text) in [("Debugger", command), ("Auto", "1")] {
        let words = ["add", key, "/v", value, "/t", "REG_SZ", "/d", text, "/f"];
        assert_eq!(Process::program("reg.exe".as_ref(), &words).end().0, Some(0));
    }
}

/// Has a thread of another process begin where nothing is.
fn violate(pid: u32) {
    // SAFETY: no condition.
    let process = unsafe { OpenProcess(PROCESS_ALL_ACCESS, 0, pid) };
    assert!(!process.is_null());
    // SAFETY: the handle is new, and nobody else's.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    // SAFETY: a number that is no function: whoever calls it is what this is about, and is not us.
    let nowhere =
        unsafe { std::mem::transmute::<usize, unsafe extern "system" fn(*mut c_void) -> u32>(0x10) };
    // SAFETY: the handle is open; there are no attributes and no parameter, and nobody wants to know the number.
    let thread = unsafe {
        CreateRemoteThread(process.as_raw_handle(), null(), 0, Some(nowhere), null_mut(), 0, null_mut())
    };
    assert!(!thread.is_null());
    // SAFETY: the handle is new, and nobody else's.
    drop(unsafe { OwnedHandle::from_raw_handle(thread) });
}
