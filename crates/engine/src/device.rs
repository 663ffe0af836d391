//! Keyboards, as keymaps tell them apart.

use alloc::string::String;
use alloc::vec::Vec;

/// What is known of a keyboard. What the system does not say is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name the system gives it.
    pub name: String,
    /// Its serial number (on Linux: uniq).
    pub serial: String,
    /// Where it is plugged in (on Linux: phys).
    pub path: String,
    /// USB or Bluetooth vendor number.
    pub vendor: u16,
    /// USB or Bluetooth product number.
    pub product: u16,
}

impl DeviceInfo {
    /// A keyboard of which only the name is known.
    pub fn named(name: &str) -> DeviceInfo {
        DeviceInfo { name: name.into(), ..DeviceInfo::default() }
    }

    /// `vid:pid` in four lower-case hexadecimal digits each.
    pub fn vid_pid(&self) -> String {
        alloc::format!("{:04x}:{:04x}", self.vendor, self.product)
    }
}

/// A pattern for a keyboard's name, serial, path or `vid:pid`: `*` stands for any text, `?` for one character, and
/// case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    folded: Vec<char>,
}

impl Pattern {
    /// Every text is a pattern.
    pub fn new(text: &str) -> Pattern {
        Pattern { folded: fold(text) }
    }

    /// How special the pattern is: 0 for `*`, 1 with a `*` or `?` in it, 2 for an exact text.
    pub fn rank(&self) -> u8 {
        match self.folded.as_slice() {
            ['*'] => 0,
            folded if folded.iter().any(|c| matches!(c, '*' | '?')) => 1,
            _ => 2,
        }
    }

    /// Whether the pattern fits one of the keyboard's name, serial, path or `vid:pid`.
    pub fn matches(&self, device: &DeviceInfo) -> bool {
        [&device.name, &device.serial, &device.path, &device.vid_pid()]
            .iter()
            .any(|text| fits(&self.folded, &fold(text)))
    }
}

fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Glob matching by backtracking to the last `*`: at most pattern times text comparisons.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0_usize, 0_usize);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p = p.saturating_add(1);
            }
            Some(x) if *x == '?' || x == c => {
                p = p.saturating_add(1);
                t = t.saturating_add(1);
            }
            _ => {
                let Some((star_p, star_t)) = star else { return false };
                p = star_p.saturating_add(1);
                t = star_t.saturating_add(1);
                star = Some((star_p, t));
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, fits: bool) {
        let device = DeviceInfo {
            name: "Acme Laptop Keyboard 2".into(),
            serial: "SN-0815".into(),
            path: "usb-0000:00:14.0-2/input0".into(),
            vendor: 0x04d9,
            product: 0x1A2B,
        };
        assert_eq!(Pattern::new(pattern).matches(&device), fits, "{pattern}");
    }

    #[test]
    fn patterns_match_name_serial_path_and_vid_pid_whatever_the_case() {
        for pattern in ["*", "acme laptop keyboard 2", "ACME*", "*board ?", "*Laptop*Keyboard*", "sn-0815"] {
            check(pattern, true);
        }
        for pattern in ["usb-0000:00:14.0-*", "04D9:1a2b", "04d9:*", "**a**"] {
            check(pattern, true);
        }
        for pattern in ["", "Acme", "*Keyboard", "?", "04d9", "*laptop*laptop*"] {
            check(pattern, false);
        }
    }

    #[test]
    fn exact_is_more_special_than_glob_and_glob_than_star() {
        let ranks = ["Keychron K2", "Keychron*", "K?", "*"].map(|pattern| Pattern::new(pattern).rank());
        assert_eq!(ranks, [2, 1, 1, 0]);
    }
}
