//! Values of the registry.

use std::io;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, REG_ROUTINE_FLAGS,
    RRF_RT_REG_BINARY, RRF_RT_REG_DWORD, RRF_RT_REG_SZ, RegDeleteTreeW, RegGetValueW, RegSetKeyValueW,
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

/// What is to stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text, with variables of the environment in it.
    Expand(&'a str),
    Number(u32),
}

/// Sets a value of the machine, and makes the key for it.
pub fn set(key: &str, name: &str, value: Value<'_>) -> io::Result<()> {
    let [key, name] = [key, name].map(wide);
    let (kind, bytes) = match value {
        Value::Expand(text) => {
            (REG_EXPAND_SZ, wide(text).iter().flat_map(|unit| unit.to_ne_bytes()).collect())
        }
        Value::Number(number) => (REG_DWORD, number.to_ne_bytes().to_vec()),
    };
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    // SAFETY: both names end with a zero; there are as many bytes as is said.
    let result = unsafe {
        RegSetKeyValueW(HKEY_LOCAL_MACHINE, key.as_ptr(), name.as_ptr(), kind, bytes.as_ptr().cast(), length)
    };
    done(result)
}

/// Removes a key of the machine, with all that is in it. One that is not there is fine.
pub fn remove(key: &str) -> io::Result<()> {
    let key = wide(key);
    // SAFETY: the name ends with a zero.
    match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, key.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        result => done(result),
    }
}

fn done(result: u32) -> io::Result<()> {
    if result == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(result.cast_signed())) }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
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
