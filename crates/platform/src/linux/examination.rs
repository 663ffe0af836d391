//! What is in the way of keyrx on this system, found out without taking a keyboard.

use std::fs;
use std::path::Path;

use rustix::fs::Access;

use super::{devices, uinput};
use crate::{Finding, Options, State};

/// Programs that map keys, by the names of their processes; what else a name has after it does not matter.
const REMAPPERS: [&str; 7] =
    ["keyd", "kanata", "xremap", "input-remapper", "evremap", "kmonad", "keymapperd"];

/// Looks at all that keyrx needs, and at what may be in its way.
pub fn examine() -> Vec<Finding> {
    vec![output(), keyboards(), group(), remappers()]
}

fn output() -> Finding {
    let node = Path::new(uinput::NODE);
    let finding = |state, is: &str, means: &str| Finding::new("uinput", state, is, means);
    if rustix::fs::access(node, Access::EXISTS).is_err() {
        let error = crate::Error::OutputMissing(node.into());
        return finding(State::Bad, "there is no /dev/uinput", &error.to_string());
    }
    if rustix::fs::access(node, Access::READ_OK | Access::WRITE_OK).is_err() {
        let error = crate::Error::OutputForbidden(node.into());
        return finding(State::Bad, "you may not write to /dev/uinput", &error.to_string());
    }
    finding(State::Good, "you may write to /dev/uinput", "keyrx can send keys")
}

fn keyboards() -> Finding {
    let finding = |state, is: String, means: &str| Finding::new("keyboards", state, is, means);
    let devices = match devices::list(&Options::default()) {
        Ok(devices) => devices,
        Err(error) => return finding(State::Bad, error.to_string(), "keyrx finds no keyboard"),
    };
    let usable = devices.iter().filter(|device| device.excluded.is_none()).collect::<Vec<_>>();
    let readable = usable.iter().filter(|device| device.is_readable).count();
    let is = format!("you may read {readable} of {} keyboards in /dev/input", usable.len());
    match (usable.len(), readable) {
        (0, _) => finding(State::Notice, is, "keyrx waits for one to be plugged in"),
        (_, 0) => finding(State::Bad, is, "keyrx sees no key: join the group that owns them (see `group`)"),
        (all, some) if some < all => finding(State::Notice, is, "`keyrx devices` says which, and why"),
        _ => finding(State::Good, is, "keyrx can map them; `keyrx devices` lists them"),
    }
}

fn group() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let input = groups.lines().find(|line| line.starts_with("input:"));
    let number = input.and_then(|line| line.split(':').nth(2));
    let is_root = rustix::fs::access("/root", Access::WRITE_OK).is_ok();
    let is_member = number.is_some_and(|number| ids.split_whitespace().any(|id| id == number));
    let (is, means) = match (is_root, is_member, number) {
        (true, ..) => ("this is root", "keyrx may do all it needs; a user needs the group `input` for it"),
        (_, true, _) => {
            ("you are in the group `input`", "you may read keyboards, if your system is as most are")
        }
        (_, false, Some(_)) => (
            "you are not in the group `input`",
            "on most systems it owns the keyboards: sudo usermod -aG input \"$USER\", then log out and in again",
        ),
        (_, false, None) => ("there is no group `input`", "see what group owns the files in /dev/input"),
    };
    let state = if is_root || is_member { State::Good } else { State::Notice };
    Finding::new("group", state, is, means)
}

fn remappers() -> Finding {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    let mut found = names
        .filter_map(|name| REMAPPERS.into_iter().find(|remapper| name.starts_with(remapper)))
        .collect::<Vec<_>>();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Finding::new(
            "remappers",
            State::Good,
            "no other remapper is running",
            "keyrx is alone with the keys",
        );
    }
    Finding::new(
        "remappers",
        State::Notice,
        format!("running: {}", found.join(", ")),
        "it has taken the keyboards for itself, or maps what keyrx sends: stop one of the two",
    )
}
