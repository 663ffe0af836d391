//! Windows Error Reporting: it keeps a dump of a program that dies of itself, where ours cannot be made any more.

use std::io;
use std::path::Path;

use super::registry::{self, Value};

const KEY: &str = r"SOFTWARE\Microsoft\Windows\Windows Error Reporting\LocalDumps";

/// So many are kept.
const MOST: u32 = 5;

/// A small dump, without the heap.
const SMALL: u32 = 1;

/// Has dumps of crashes of a program left in a folder. For administrators.
pub fn register(program: &Path, folder: &Path) -> io::Result<()> {
    let key = key(program);
    registry::set(&key, "DumpFolder", Value::Expand(&folder.to_string_lossy()))?;
    registry::set(&key, "DumpCount", Value::Number(MOST))?;
    registry::set(&key, "DumpType", Value::Number(SMALL))
}

/// No more.
pub fn unregister(program: &Path) -> io::Result<()> {
    registry::remove(&key(program))
}

fn key(program: &Path) -> String {
    format!(r"{KEY}\{}", program.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::super::registry::Root;
    use super::*;

    #[test]
    fn what_is_registered_can_be_removed() {
        let program = Path::new(r"C:\x\keyrx-test-crashes.exe");
        register(program, Path::new(r"C:\dumps")).unwrap();
        let key = key(program);
        assert_eq!(registry::number(Root::Machine, &key, "DumpCount"), Some(MOST));
        unregister(program).unwrap();
        assert_eq!(registry::number(Root::Machine, &key, "DumpCount"), None);
        unregister(program).unwrap();
    }
}
