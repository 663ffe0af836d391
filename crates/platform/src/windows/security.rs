//! Who may do what with things of ours, in the language of Windows for it (SDDL).

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES, SetFileSecurityW,
    TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Who may do what. The system frees it with ours.
#[derive(Debug)]
pub struct Descriptor(PSECURITY_DESCRIPTOR);

// SAFETY: it is written once, by the system, and only read from then on.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// It is our user's. The system, administrators and our user may do everything; beside them who is in `more`.
    pub fn private(more: &str) -> io::Result<Descriptor> {
        let user = own_user()?;
        Descriptor::parse(&format!("O:{user}D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{user}){more}"))
    }

    fn parse(text: &str) -> io::Result<Descriptor> {
        let text = text.encode_utf16().chain([0]).collect::<Vec<u16>>();
        let mut descriptor = null_mut();
        // SAFETY: the text ends with a zero; the descriptor is written to; its size is not asked for.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Descriptor(descriptor)) }
    }

    /// For something new, which is not inherited by programs. To be used while this lives.
    pub fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system made it for us with LocalAlloc, and nobody uses it any more.
        unsafe { LocalFree(self.0) };
    }
}

/// What a directory of all users is to be: the system and administrators write it, users read it.
const FOR_ALL: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)";

/// And one that is nobody's business but the system's and administrators'.
const PRIVATE: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// Makes a directory one that users may read and only administrators may write, with all that is or will be in it. It
/// belongs to the administrators from then on, whoever has made it.
pub fn share(directory: &Path) -> io::Result<()> {
    protect(directory, FOR_ALL)
}

/// Makes a directory one that only administrators may read or write, with all that is or will be in it.
pub fn hide(directory: &Path) -> io::Result<()> {
    protect(directory, PRIVATE)
}

fn protect(directory: &Path, rights: &str) -> io::Result<()> {
    let descriptor = Descriptor::parse(rights)?;
    set(directory, &descriptor)?;
    // From here on nobody else adds anything.
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            set(&entry.path(), &descriptor)?;
            // A link leads to what is somebody else's.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(())
}

fn set(path: &Path, descriptor: &Descriptor) -> io::Result<()> {
    let path = path.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
    let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends with a zero; the descriptor lives as long as the call.
    let done = unsafe { SetFileSecurityW(path.as_ptr(), what, descriptor.0) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The user of this process, as its number.
pub fn own_user() -> io::Result<String> {
    let mut token = null_mut();
    // SAFETY: the pseudo handle is always good; the handle is written to.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // It begins with a TOKEN_USER, and the number it points to follows: 8 bytes and 4 for each of at most 15 parts.
    let mut user = [0_u64; 16];
    let mut length = 0;
    // SAFETY: the token is open; there is as much room as is said.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            user.as_mut_ptr().cast(),
            size_of_val(&user) as u32,
            &mut length,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has written a TOKEN_USER there, and the place is aligned for it.
    let sid = unsafe { (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid };
    // SAFETY: the number lies in `user`.
    unsafe { text(sid) }
}

/// The owner of something, as its number.
pub fn owner(object: &OwnedHandle) -> io::Result<String> {
    let (mut owner, mut descriptor) = (null_mut(), null_mut());
    // SAFETY: the handle is open; both pointers are written to, and nothing else is asked for.
    let result = unsafe {
        GetSecurityInfo(
            object.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &mut descriptor,
        )
    };
    if result != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(result.cast_signed()));
    }
    let _descriptor = Descriptor(descriptor);
    // SAFETY: the number lies in the descriptor.
    unsafe { text(owner) }
}

/// The number of a user, in letters.
///
/// # Safety
///
/// There is one at that place.
unsafe fn text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: as the caller says; the pointer is written to.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut units = Vec::new();
    // SAFETY: the text ends with a zero, which is not passed.
    while let unit @ 1.. = unsafe { *text.add(units.len()) } {
        units.push(unit);
    }
    // SAFETY: the system made it for us with LocalAlloc, and nobody uses it any more.
    unsafe { LocalFree(text.cast()) };
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_number() {
        assert!(own_user().unwrap().starts_with("S-1-"));
    }

    #[test]
    fn what_is_no_right_is_refused() {
        assert!(Descriptor::parse("D:P(A;;nonsense;;;SY)").is_err());
    }

    #[test]
    fn a_directory_is_shared_or_hidden_and_stays_ours() {
        let directory = std::env::temp_dir().join(format!("keyrx-security-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::create_dir_all(directory.join("inner")).unwrap();
        std::fs::write(directory.join("inner").join("before"), "x").unwrap();
        share(&directory).unwrap();
        hide(&directory).unwrap();
        std::fs::write(directory.join("file"), "x").unwrap();
        assert!(share(&directory.join("none")).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
