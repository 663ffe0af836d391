//! What keyboards there are: the list of raw input, and what the system knows of each.
//!
//! To ask a keyboard for its name may take as long as the keyboard likes; so that is never done on the hook thread
//! once keys are mapped.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, Thread};

use keyrx_engine::DeviceInfo;
use windows_sys::Win32::Devices::HumanInterfaceDevice::{HidD_GetProductString, HidD_GetSerialNumberString};
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING,
};
use windows_sys::Win32::UI::Input::{
    GetRawInputDeviceInfoW, GetRawInputDeviceList, RAWINPUTDEVICELIST, RIDI_DEVICENAME, RIM_TYPEKEYBOARD,
};

use super::registry;
use super::waker::Waker;
use crate::threads::{Stop, Threads};
use crate::{Device, Error, Kind, Options};

/// A keyboard, and the number under which raw input tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub raw: usize,
    pub device: Device,
}

/// Every keyboard that raw input knows.
pub fn list(_: &Options) -> Result<Vec<Device>, Error> {
    let listed = listed().map_err(|source| Error::System { doing: "list the keyboards".into(), source })?;
    Ok(listed.into_iter().map(|listed| listed.device).collect())
}

/// The same, with their numbers.
pub fn listed() -> io::Result<Vec<Listed>> {
    let size = size_of::<RAWINPUTDEVICELIST>() as u32;
    let mut count = 0;
    // SAFETY: without a list, only the count is written.
    if unsafe { GetRawInputDeviceList(null_mut(), &mut count, size) } == u32::MAX {
        return Err(io::Error::last_os_error());
    }
    let mut entries = vec![RAWINPUTDEVICELIST::default(); count as usize];
    // SAFETY: `entries` has room for `count` entries of the size that is said.
    let found = unsafe { GetRawInputDeviceList(entries.as_mut_ptr(), &mut count, size) };
    if found == u32::MAX {
        return Err(io::Error::last_os_error()); // one more has come in between: its arrival has us called again
    }
    entries.truncate(found as usize);
    let keyboards = entries.iter().filter(|entry| entry.dwType == RIM_TYPEKEYBOARD);
    Ok(keyboards.filter_map(|entry| keyboard(entry.hDevice)).collect())
}

/// A thread that lists the keyboards whenever it is asked to.
#[derive(Debug)]
pub struct Lister {
    is_asked: Arc<AtomicBool>,
    thread: Thread,
    _threads: Threads,
}

impl Lister {
    /// Tells each list, and then wakes whoever waits for `news`.
    pub fn start(tell: Sender<Vec<Listed>>, news: Waker) -> io::Result<Lister> {
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = is_asked.clone();
        let mut threads = Threads::default();
        let work = move |stop: &Stop| {
            while !stop.is_requested() {
                if !asked.swap(false, Ordering::AcqRel) {
                    thread::park();
                } else if let Ok(listed) = listed() {
                    // The loop is gone when keyrx ends.
                    let _ = tell.send(listed);
                    news.wake();
                }
            }
        };
        let thread = threads.start("keyboards", || {}, work)?;
        Ok(Lister { is_asked, thread, _threads: threads })
    }

    /// Has them listed once more.
    pub fn list(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn keyboard(handle: HANDLE) -> Option<Listed> {
    let node = device_name(handle)?;
    let instance = Instance::parse(&node);
    let hid = instance.is_hid.then(|| open(&node)).flatten();
    let text = |read: ReadString| hid.as_ref().and_then(|hid| read_string(hid, read)).unwrap_or_default();
    let name = match text(HidD_GetProductString) {
        name if name.is_empty() => description(&instance.id).unwrap_or_else(|| "keyboard".into()),
        name => name,
    };
    let info = DeviceInfo {
        name,
        serial: text(HidD_GetSerialNumberString),
        path: instance.id,
        vendor: instance.vendor,
        product: instance.product,
    };
    let device = Device {
        node: PathBuf::from(node),
        info,
        kind: Kind::Keyboard,
        is_virtual: instance.is_virtual,
        is_readable: true,
        excluded: None,
    };
    Some(Listed { raw: handle as usize, device })
}

/// The name by which the device can be opened: `\\?\HID#VID_046D&PID_C31C&MI_00#7&1b2c3d4&0&0000#{884b96c3-...}`.
fn device_name(handle: HANDLE) -> Option<String> {
    let mut length = 0;
    // SAFETY: without a buffer, only the length is written.
    unsafe { GetRawInputDeviceInfoW(handle, RIDI_DEVICENAME, null_mut(), &mut length) };
    let mut name = vec![0_u16; length as usize];
    // SAFETY: `name` has room for `length` characters, which is what this command counts in.
    let written =
        unsafe { GetRawInputDeviceInfoW(handle, RIDI_DEVICENAME, name.as_mut_ptr().cast(), &mut length) };
    let name = name.get(..written as usize)?;
    let end = name.iter().position(|unit| *unit == 0).unwrap_or(name.len());
    Some(String::from_utf16_lossy(name.get(..end)?))
}

/// What the name of a device says.
#[derive(Debug, PartialEq, Eq)]
struct Instance {
    /// The device instance, as the registry and the device manager write it.
    id: String,
    is_hid: bool,
    /// Whether no keyboard is behind it, but a remote desktop or a program.
    is_virtual: bool,
    vendor: u16,
    product: u16,
}

impl Instance {
    fn parse(name: &str) -> Instance {
        let name = name.strip_prefix(r"\\?\").or_else(|| name.strip_prefix(r"\??\")).unwrap_or(name);
        // The class of the interface stands at the end.
        let id = name.rsplit_once("#{").map_or(name, |(id, _)| id).replace('#', "\\");
        let upper = id.to_ascii_uppercase();
        // USB writes VID_046D&PID_C31C, Bluetooth VID&0002046D_PID&B342 with the kind of number before it.
        let number = |word: &str| {
            let after = upper.split(word).nth(1)?;
            let digits = after.trim_start_matches(['_', '&']);
            let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
            let last = digits.len().checked_sub(4)?;
            u16::from_str_radix(digits.get(last..)?, 16).ok()
        };
        Instance {
            is_hid: upper.starts_with("HID\\"),
            is_virtual: upper.starts_with("ROOT\\") || upper.starts_with("TERMINPUT_BUS\\"),
            vendor: number("VID").unwrap_or(0),
            product: number("PID").unwrap_or(0),
            id,
        }
    }
}

/// Opens a device to be asked for its strings; that needs no right to its keys.
fn open(name: &str) -> Option<OwnedHandle> {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    // SAFETY: the name ends with a zero; the pointers that are null may be.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            0,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            null(),
            OPEN_EXISTING,
            0,
            null_mut(),
        )
    };
    // SAFETY: the handle is new, and nobody else's.
    (handle != INVALID_HANDLE_VALUE).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

type ReadString = unsafe extern "system" fn(HANDLE, *mut core::ffi::c_void, u32) -> bool;

/// A string that a HID device has; USB allows 126 characters.
fn read_string(device: &OwnedHandle, read: ReadString) -> Option<String> {
    let mut buffer = [0_u16; 127];
    // SAFETY: `buffer` has as many bytes as are said; both functions that this is called with write a string that
    // ends with a zero, or fail.
    let is_read =
        unsafe { read(device.as_raw_handle(), buffer.as_mut_ptr().cast(), size_of_val(&buffer) as u32) };
    let text = buffer.split(|unit| *unit == 0).next().filter(|_| is_read)?;
    Some(String::from_utf16_lossy(text).trim().to_owned())
}

/// What the driver calls the device: `@keyboard.inf,%*pnp0303.devicedesc%;Standard PS/2 Keyboard`.
fn description(instance: &str) -> Option<String> {
    let key = format!("SYSTEM\\CurrentControlSet\\Enum\\{instance}");
    let text = registry::text(registry::Root::Machine, &key, "DeviceDesc")?;
    Some(text.rsplit(';').next().unwrap_or(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, id: &str, vid_pid: (u16, u16), is_hid: bool, is_virtual: bool) {
        let (vendor, product) = vid_pid;
        let expected = Instance { id: id.into(), is_hid, is_virtual, vendor, product };
        assert_eq!(Instance::parse(name), expected);
    }

    #[test]
    fn the_name_of_a_device_says_where_it_is_and_who_made_it() {
        check(
            r"\\?\HID#VID_046D&PID_C31C&MI_00#7&1b2c3d4&0&0000#{884b96c3-56ef-11d1-bc8c-00a0c91405dd}",
            r"HID\VID_046D&PID_C31C&MI_00\7&1b2c3d4&0&0000",
            (0x046d, 0xc31c),
            true,
            false,
        );
        check(
            r"\\?\HID#{00001812-0000-1000-8000-00805f9b34fb}_Dev_VID&02046d_PID&b342_REV&0001#9&1&0&0000#{884b96c3}",
            r"HID\{00001812-0000-1000-8000-00805f9b34fb}_Dev_VID&02046d_PID&b342_REV&0001\9&1&0&0000",
            (0x046d, 0xb342),
            true,
            false,
        );
        check(
            r"\\?\ACPI#PNP0303#4&1a2b3c&0#{884b96c3-56ef-11d1-bc8c-00a0c91405dd}",
            r"ACPI\PNP0303\4&1a2b3c&0",
            (0, 0),
            false,
            false,
        );
        check(
            r"\\?\ROOT#RDP_KBD#0000#{884b96c3-56ef-11d1-bc8c-00a0c91405dd}",
            r"ROOT\RDP_KBD\0000",
            (0, 0),
            false,
            true,
        );
    }
}
