//! Windows Error Reporting: where Windows itself leaves dumps of what it ends, so that they outlive even a process that
//! can do nothing more for itself. To be set by an administrator.

use std::io;
use std::path::Path;

use super::registry::{self, Root, Value};

const LOCAL_DUMPS: &str = r"SOFTWARE\Microsoft\Windows\Windows Error Reporting\LocalDumps";

/// A small dump: stacks and modules.
const MINI: u32 = 1;

/// So many are kept.
const MOST: u32 = 5;

/// Has Windows leave dumps of a program, by the name of its file, in a folder.
pub fn register(exe_name: &str, folder: &Path) -> io::Result<()> {
    let folder = folder.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    let key = key(exe_name);
    registry::set(Root::Machine, &key, "DumpFolder", Value::Expand(folder))?;
    registry::set(Root::Machine, &key, "DumpCount", Value::Number(MOST))?;
    registry::set(Root::Machine, &key, "DumpType", Value::Number(MINI))
}

/// Undoes that. The dumps stay.
pub fn unregister(exe_name: &str) -> io::Result<()> {
    registry::remove(Root::Machine, &key(exe_name))
}

fn key(exe_name: &str) -> String {
    format!(r"{LOCAL_DUMPS}\{exe_name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_registered_until_it_is_not() {
        let name = "keyrx-test-wer.exe";
        register(name, Path::new(r"%ProgramData%\keyrx\crashes")).unwrap();
        let number = |value| registry::number(Root::Machine, &key(name), value);
        assert_eq!((number("DumpType"), number("DumpCount")), (Some(1), Some(5)));
        let folder = registry::text(Root::Machine, &key(name), "DumpFolder");
        assert_eq!(folder.as_deref(), Some(r"%ProgramData%\keyrx\crashes"));
        unregister(name).unwrap();
        unregister(name).unwrap();
        assert_eq!(number("DumpType"), None);
    }
}
