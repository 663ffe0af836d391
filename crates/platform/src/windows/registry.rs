//! Values of the registry, to be read.

use std::ptr::null_mut;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, REG_ROUTINE_FLAGS, RRF_RT_REG_BINARY, RRF_RT_REG_DWORD,
    RRF_RT_REG_SZ, RegGetValueW,
};

/// Where a key begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Machine,
    User,
}

/// A text.
pub fn text(root: Root, key: &str, value: &str) -> Option<String> {
    let bytes = read(root, key, value, RRF_RT_REG_SZ)?;
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_ne_bytes(*unit));
    Some(String::from_utf16_lossy(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()))
}

/// A number.
pub fn number(root: Root, key: &str, value: &str) -> Option<u32> {
    read(root, key, value, RRF_RT_REG_DWORD)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Bytes.
pub fn binary(root: Root, key: &str, value: &str) -> Option<Vec<u8>> {
    read(root, key, value, RRF_RT_REG_BINARY)
}

fn read(root: Root, key: &str, value: &str, kind: REG_ROUTINE_FLAGS) -> Option<Vec<u8>> {
    let root: HKEY = match root {
        Root::Machine => HKEY_LOCAL_MACHINE,
        Root::User => HKEY_CURRENT_USER,
    };
    let [key, value] = [key, value].map(|text| text.encode_utf16().chain([0]).collect::<Vec<u16>>());
    let mut bytes = vec![0_u8; 4096];
    let mut length = bytes.len() as u32;
    // SAFETY: both names end with a zero; `bytes` has as many bytes as `length` says; the type is not asked for.
    let result = unsafe {
        RegGetValueW(
            root,
            key.as_ptr(),
            value.as_ptr(),
            kind,
            null_mut(),
            bytes.as_mut_ptr().cast(),
            &mut length,
        )
    };
    bytes.truncate(length as usize);
    (result == ERROR_SUCCESS).then_some(bytes)
}
