//! The keymaps and scenarios of the project pass.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

#[test]
fn every_keymap_has_scenarios_and_all_of_them_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for entry in root.join("keymaps").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let has_both = path.with_extension("rhai").exists() && path.with_extension("keytest").exists();
        assert!(has_both, "{} stands alone", path.display());
    }
    let paths = ["keymaps", "crates/keyrx/tests/scenarios"];
    let test = Command::new(env!("CARGO_BIN_EXE_keyrx")).arg("test").args(paths).current_dir(&root).output();
    let test = test.unwrap();
    assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stdout));
}
