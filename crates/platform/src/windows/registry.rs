//! Values of the registry.

use std::io;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS, WIN32_ERROR};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, REG_ROUTINE_FLAGS, RRF_NOEXPAND,
    RRF_RT_REG_BINARY, RRF_RT_REG_DWORD, RRF_RT_REG_EXPAND_SZ, RRF_RT_REG_SZ, RegDeleteTreeW, RegGetValueW,
    RegSetKeyValueW,
};

/// Where a key begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Machine,
    User,
}

impl Root {
    fn key(self) -> HKEY {
        match self {
            Root::Machine => HKEY_LOCAL_MACHINE,
            Root::User => HKEY_CURRENT_USER,
        }
    }
}

/// What a value is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text, which may have names of variables in it, such as `%ProgramData%`.
    Expand(&'a str),
    Number(u32),
}

/// Sets a value, and makes the keys up to it.
pub fn set(root: Root, key: &str, value: &str, to: Value<'_>) -> io::Result<()> {
    let (kind, bytes) = match to {
        Value::Expand(text) => (REG_EXPAND_SZ, bytes(text)),
        Value::Number(number) => (REG_DWORD, number.to_ne_bytes().to_vec()),
    };
    let [key, value] = [key, value].map(wide);
    let length = bytes.len() as u32;
    // SAFETY: both names end with a zero; `bytes` has as many bytes as is said, of the kind that is said.
    let result = unsafe {
        RegSetKeyValueW(root.key(), key.as_ptr(), value.as_ptr(), kind, bytes.as_ptr().cast(), length)
    };
    done(result)
}

/// Removes a key with all that is in it. That there is none is no error.
pub fn remove(root: Root, key: &str) -> io::Result<()> {
    let key = wide(key);
    // SAFETY: the name ends with a zero.
    match unsafe { RegDeleteTreeW(root.key(), key.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        result => done(result),
    }
}

fn done(result: WIN32_ERROR) -> io::Result<()> {
    match result {
        ERROR_SUCCESS => Ok(()),
        error => Err(io::Error::from_raw_os_error(error as i32)),
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    wide(text).into_iter().flat_map(u16::to_ne_bytes).collect()
}

/// A text, with the names of variables as they are.
pub fn text(root: Root, key: &str, value: &str) -> Option<String> {
    let bytes = read(root, key, value, RRF_RT_REG_SZ | RRF_RT_REG_EXPAND_SZ | RRF_NOEXPAND)?;
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
    let [key, value] = [key, value].map(wide);
    let mut bytes = vec![0_u8; 4096];
    let mut length = bytes.len() as u32;
    // SAFETY: both names end with a zero; `bytes` has as many bytes as `length` says; the type is not asked for.
    let result = unsafe {
        RegGetValueW(
            root.key(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_until_it_is_removed() {
        let key = r"Software\keyrx-test-registry";
        set(Root::User, &format!(r"{key}\below"), "Text", Value::Expand("a b")).unwrap();
        set(Root::User, key, "Expand", Value::Expand(r"%ProgramData%\ü")).unwrap();
        set(Root::User, key, "Number", Value::Number(7)).unwrap();
        assert_eq!(text(Root::User, &format!(r"{key}\below"), "Text").as_deref(), Some("a b"));
        assert_eq!(text(Root::User, key, "Expand").as_deref(), Some(r"%ProgramData%\ü"));
        assert_eq!((number(Root::User, key, "Number"), number(Root::User, key, "Text")), (Some(7), None));
        remove(Root::User, key).unwrap();
        assert_eq!(number(Root::User, key, "Number"), None);
        remove(Root::User, key).unwrap();
    }
}
