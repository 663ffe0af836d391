//! `keyrx devices`: the keyboards, and whether keyrx reads them.

use std::io::Write;

use anyhow::Result;
use keyrx_platform::{Device, Kind, Options, native};

use crate::cli::Exit;

pub fn devices(json: bool) -> Result<Exit> {
    let devices = native::list(&Options::default())?;
    let mut out = std::io::stdout().lock();
    if json {
        let devices = devices.iter().map(as_json).collect::<Vec<_>>();
        writeln!(out, "{:#}", serde_json::json!({ "devices": devices }))?;
        return Ok(Exit::Ok);
    }
    if devices.is_empty() {
        writeln!(out, "there is no keyboard")?;
    }
    for device in &devices {
        let Device { node, info, .. } = device;
        writeln!(out, "{}  ({}, {})", info.name, node.display(), info.vid_pid())?;
        for (what, text) in [("serial", &info.serial), ("path", &info.path)] {
            if !text.is_empty() {
                writeln!(out, "    {what}: {text}")?;
            }
        }
        match why_not_read(device) {
            Some(reason) => writeln!(out, "    not read: {reason}")?,
            None => writeln!(out, "    is read, if the keymap has mappings for it")?,
        }
    }
    Ok(Exit::Ok)
}

/// A keyboard as data.
pub fn as_json(device: &Device) -> serde_json::Value {
    let Device { node, info, kind, is_virtual, is_readable, .. } = device;
    let reason = why_not_read(device);
    let kind = match kind {
        Kind::Keyboard => "keyboard",
        Kind::Combined => "keyboard and pointer",
        Kind::Touch => "keyboard and touch",
    };
    serde_json::json!({
        "name": info.name,
        "serial": info.serial,
        "path": info.path,
        "vid_pid": info.vid_pid(),
        "node": node,
        "kind": kind,
        "virtual": is_virtual,
        "permitted": is_readable,
        "read": reason.is_none(),
        "reason": reason,
    })
}

/// Why a keyboard is not read whatever the keymap says.
fn why_not_read(device: &Device) -> Option<String> {
    let excluded = device.excluded.map(|excluded| excluded.to_string());
    excluded.or_else(|| {
        let forbidden = format!("you may not read and write {}: see `keyrx run`", device.node.display());
        (!device.is_readable).then_some(forbidden)
    })
}
