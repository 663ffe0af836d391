//! What input devices there are, and which of them are keyboards that may be read.
//!
//! All of it is learned from sysfs: that needs no rights, and a device that is no keyboard is never opened.

use std::fs;
use std::path::Path;

use keyrx_engine::DeviceInfo;

use super::bits::Bits;
use super::uinput;
use crate::{Device, Error, Excluded, Kind, Options};

/// Where the device files are.
pub const NODES: &str = "/dev/input";

/// Where the kernel tells about them.
const CLASS: &str = "/sys/class/input";

const BUS_VIRTUAL: u16 = 0x06;

/// Names by which other remappers' output begins. They may claim a real bus, and two remappers that read each other
/// freeze the keyboard.
const REMAPPERS: [&str; 6] =
    ["keyd virtual", "kanata", "xremap", "input-remapper", "evremap Virtual", "Keymapper Virtual"];

/// Every device that has the keys of a keyboard, in the order of their numbers.
pub fn list(options: &Options) -> Result<Vec<Device>, Error> {
    if !Path::new(CLASS).exists() {
        return Ok(Vec::new()); // a kernel to which no input device was ever plugged in
    }
    let mut devices = names()?.iter().filter_map(|name| find(name, options)).collect::<Vec<_>>();
    devices.sort_by_key(|device| node_number(&device.node));
    Ok(devices)
}

/// The names of all input devices, as they are in `CLASS` and in `NODES`.
pub fn names() -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(CLASS)
        .map_err(|source| Error::System { doing: format!("list the input devices in {CLASS}"), source })?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// The device of that name, if it has the keys of a keyboard.
pub fn find(name: &str, options: &Options) -> Option<Device> {
    name.strip_prefix("event")?.parse::<u32>().ok()?;
    let about = Path::new(CLASS).join(name).join("device");
    let text = |file: &str| fs::read_to_string(about.join(file)).unwrap_or_default().trim_end().to_owned();
    let number = |file: &str| u16::from_str_radix(&text(file), 16).unwrap_or(0);
    let set = |file: &str| Bits::from_sysfs(&text(file));

    let kind = kind(&set("capabilities/key"), &set("capabilities/rel"), &set("capabilities/abs"))?;
    let node = Path::new(NODES).join(name);
    let info = DeviceInfo {
        name: text("name"),
        serial: text("uniq"),
        path: text("phys"),
        vendor: number("id/vendor"),
        product: number("id/product"),
    };
    let is_virtual =
        number("id/bustype") == BUS_VIRTUAL || REMAPPERS.iter().any(|it| info.name.starts_with(it));
    let is_readable =
        rustix::fs::access(&node, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok();
    let excluded = if info.path.starts_with(uinput::PHYS) {
        Some(Excluded::OurOutput)
    } else if is_virtual && !options.read_virtual {
        Some(Excluded::Virtual)
    } else if kind == Kind::Touch {
        Some(Excluded::Touch)
    } else {
        None
    };
    Some(Device { node, info, kind, is_virtual, is_readable, excluded })
}

/// What a device with these keys and axes is; `None` if it is no keyboard.
///
/// A keyboard is what one types on: it has all letters, or is a numpad. So are the media keys of a keyboard, which are
/// mostly a device of their own. Power buttons, remote controls and mice are not, and keep their own way.
fn kind(keys: &Bits, rel: &Bits, abs: &Bits) -> Option<Kind> {
    let has_letters =
        (16..=25).chain(30..=38).chain(44..=50).all(|code| keys.has(code)) && keys.has(KEY_ENTER);
    let is_numpad =
        (71..=73).chain(75..=77).chain(79..=82).all(|code| keys.has(code)) && keys.has(KEY_KPENTER);
    let is_media = MEDIA.iter().all(|code| keys.has(*code));
    if !has_letters && !is_numpad && !is_media {
        None
    } else if abs.has(ABS_X) || abs.has(ABS_MT_POSITION_X) {
        Some(Kind::Touch)
    } else if !rel.is_empty() {
        Some(Kind::Combined)
    } else {
        Some(Kind::Keyboard)
    }
}

/// KEY_MUTE, KEY_VOLUMEDOWN, KEY_VOLUMEUP, KEY_NEXTSONG, KEY_PLAYPAUSE, KEY_PREVIOUSSONG.
const MEDIA: [u16; 6] = [113, 114, 115, 163, 164, 165];
const KEY_ENTER: u16 = 28;
const KEY_KPENTER: u16 = 96;
const ABS_X: u16 = 0x00;
const ABS_MT_POSITION_X: u16 = 0x35;

/// The number in `.../event7`, so that 10 comes after 9.
fn node_number(node: &Path) -> Option<u32> {
    node.file_name()?.to_str()?.strip_prefix("event")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: impl IntoIterator<Item = u16>, rel: &[u16], abs: &[u16], expected: Option<Kind>) {
        let [keys, rel, abs] =
            [keys.into_iter().collect(), rel.iter().copied().collect(), abs.iter().copied().collect()];
        assert_eq!(kind(&keys, &rel, &abs), expected);
    }

    #[test]
    fn what_one_types_on_is_a_keyboard() {
        check(1..=127, &[], &[], Some(Kind::Keyboard));
        check([69, 98, 55, 74, 78, 83, 96].into_iter().chain(71..=82), &[], &[], Some(Kind::Keyboard));
    }

    #[test]
    fn media_keys_that_are_a_device_of_their_own_are_a_keyboard() {
        check([113, 114, 115, 140, 155, 163, 164, 165, 166, 172], &[6, 12], &[0x20], Some(Kind::Combined));
        check([113, 114, 115, 163, 164, 165, 166], &[], &[], Some(Kind::Keyboard));
    }

    #[test]
    fn buttons_and_mice_are_no_keyboards() {
        check([116], &[], &[], None);
        check([114, 115], &[], &[], None);
        check(0x110..=0x117, &[0, 1, 8], &[], None);
        check([28, 103, 105, 106, 108, 158], &[], &[], None);
    }

    #[test]
    fn a_keyboard_with_a_pointer_is_combined_and_one_with_a_volume_knob_is_not() {
        check((1..=127).chain(0x110..=0x112), &[0, 1, 8], &[], Some(Kind::Combined));
        check(1..=127, &[], &[0x20], Some(Kind::Keyboard));
    }

    #[test]
    fn a_keyboard_with_a_touchpad_is_told_apart() {
        check((1..=127).chain([0x14a]), &[], &[0, 1, 0x35, 0x36], Some(Kind::Touch));
    }
}
