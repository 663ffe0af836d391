//! The boot of the system: which one this is, and how long ago it was.

use std::hash::{BuildHasher, RandomState};
use std::ptr::null_mut;
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, KEY_SET_VALUE, REG_OPTION_VOLATILE, REG_SZ, RegCloseKey, RegCreateKeyExW,
    RegSetValueExW,
};

use super::clock;
use super::registry::{self, Root};

/// Gone whenever the user's part of the registry is: at log-off, and at the end of the system.
const KEY: &str = r"Software\keyrx-boot";
const VALUE: &str = "Id";

/// What tells this boot from all others. The time of the start of the system would not do: Windows counts it back
/// from the time of day, which may be set. So the first who asks leaves a random name in a volatile key, which the
/// system forgets by itself. It forgets it when the user logs off, too: what was before that counts as another boot.
pub fn id() -> Option<String> {
    let known = || registry::text(Root::User, KEY, VALUE);
    known().or_else(|| {
        leave(&format!("{:016x}", RandomState::new().hash_one("keyrx")));
        known() // of several who left one, all take the last
    })
}

/// How long the system has been up, by a clock that nobody sets.
pub fn age() -> Duration {
    Duration::from_micros(clock::now().micros())
}

/// What fails here is seen by the value not being there.
fn leave(id: &str) {
    let [key, value, id] = [KEY, VALUE, id].map(|text| text.encode_utf16().chain([0]).collect::<Vec<u16>>());
    let mut handle: HKEY = null_mut();
    // SAFETY: the name ends with a zero; no class, no security, no disposition; the handle is written to.
    let result = unsafe {
        RegCreateKeyExW(
            HKEY_CURRENT_USER,
            key.as_ptr(),
            0,
            null_mut(),
            REG_OPTION_VOLATILE,
            KEY_SET_VALUE,
            null_mut(),
            &mut handle,
            null_mut(),
        )
    };
    if result != ERROR_SUCCESS {
        return;
    }
    let length = size_of_val(id.as_slice()) as u32;
    // SAFETY: the handle is open; the name ends with a zero; the text is as long as is said.
    unsafe { RegSetValueExW(handle, value.as_ptr(), 0, REG_SZ, id.as_ptr().cast(), length) };
    // SAFETY: the handle was opened above and is used no more.
    unsafe { RegCloseKey(handle) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_one_name_and_an_age() {
        let (first, second) = (id(), id());
        assert!(first.is_some() && first == second, "{first:?}, {second:?}");
        let before = age();
        assert!(age() >= before);
    }
}
