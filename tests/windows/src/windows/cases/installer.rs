//! The installer: what is there after it, after an upgrade with keys held, and after the removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Case;
use crate::windows::process::Process;
use crate::windows::service::{Service, machine};
use crate::windows::time::{ms, now};

pub const CASES: &[Case] = &[Case {
    name: "installer: installed keyrx maps; upgraded with a key held nothing is stuck, and settings and keymaps stay; removed nothing is left but those",
    run: |scene| {
        let service = Service::new(scene);
        let place = Path::new(r"C:\Program Files\keyrx");
        msiexec("/i", "2.0.0");
        for file in ["keyrx.exe", "README.md", "LICENSE-MIT.txt", r"keymaps\demo.rhai"] {
            assert!(place.join(file).is_file(), "{file} is missing");
        }
        assert!(
            reg("HKLM\\SYSTEM\\CurrentControlSet\\Services\\keyrx", "ImagePath")
                .contains(r#"\keyrx.exe" service run"#)
        );
        assert!(
            reg("HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment", "PATH")
                .contains(r"C:\Program Files\keyrx")
        );
        assert!(has_menu(), "there is no entry in the Start menu");
        let source = "HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\keyrx";
        assert!(reg(source, "EventMessageFile").contains("keyrx.exe"));
        scene.until_mapped(ms(15_000));
        let keyrx = service.keyrx();
        assert!(keyrx.identity().unwrap().image.starts_with(place));

        let settings = fs::read_to_string(machine().join("keyrx.toml")).unwrap();
        scene.begin();
        scene.type_keys("+A 50");
        msiexec("/i", "2.0.1");
        scene.type_keys("-A 300");
        scene.nothing_is_down();
        assert!(keyrx.exit_code().is_some(), "the old one has ended");
        scene.until_mapped(ms(15_000));
        assert_ne!(service.keyrx().id(), keyrx.id());
        assert_eq!(fs::read_to_string(machine().join("keyrx.toml")).unwrap(), settings);

        // Another build of the same version: it comes in the place of the one that is there.
        assert_eq!(products(), 1);
        msiexec("/i", "2.0.1.1");
        assert_eq!(products(), 1, "both are installed");
        assert_eq!(try_msiexec("/i", "2.0.0"), Some(FAILED), "an earlier version is refused");
        assert_eq!(products(), 1);
        scene.until_mapped(ms(15_000));

        let begin = now();
        msiexec("/x", "2.0.1.1");
        assert!(now() - begin < ms(20_000));
        scene.check_native("+A 50 -A");
        assert!(!place.join("keyrx.exe").exists(), "the program is still there");
        assert!(!has_menu());
        assert_eq!(service.command(&["status"]).0, Some(4), "the service is still there");
        assert!(!reg(source, "EventMessageFile").contains("keyrx.exe"));
        assert!(machine().join("keyrx.toml").is_file() && machine().join(r"profiles\default.rhai").is_file());
    },
}];

/// ERROR_INSTALL_FAILURE: the installer has given up.
const FAILED: i32 = 1603;

fn msiexec(what: &str, version: &str) {
    assert_eq!(try_msiexec(what, version), Some(0), "msiexec {what} {version}");
}

fn try_msiexec(what: &str, version: &str) -> Option<i32> {
    let place = std::env::var_os("KEYRX_INSTALLERS").expect("xtask says where the installers are");
    let msi = Path::new(&place).join(format!("keyrx-{version}-x64.msi"));
    Command::new("msiexec").arg(what).arg(msi).arg("/qn").status().unwrap().code()
}

/// How many keyrx the list of installed programs has.
fn products() -> usize {
    let list = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall";
    let query = ["query", list, "/s", "/v", "DisplayName"];
    let (_, said) = Process::program("reg.exe".as_ref(), &query).end();
    said.lines().filter(|line| line.contains("DisplayName") && line.trim_end().ends_with("keyrx")).count()
}

/// Whether the Start menu has an entry: that of all users, which for Wine is that of each.
fn has_menu() -> bool {
    let users = std::env::var_os("APPDATA").expect("a user has it");
    let places = [PathBuf::from(r"C:\ProgramData"), PathBuf::from(users)];
    places.iter().any(|place| place.join(r"Microsoft\Windows\Start Menu\Programs\keyrx\keyrx.lnk").exists())
}

/// A value of the registry; nothing if it is not there.
fn reg(key: &str, value: &str) -> String {
    Process::program("reg.exe".as_ref(), &["query", key, "/v", value]).end().1
}
