//! What a program has seen of a key, as a line of text between the processes.

use std::fmt;
use std::time::Duration;

use keyrx_engine::{Key, Motion};

use super::keycodes::{self, Code};

/// By which way a program learned of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The focused window got a message.
    Window,
    /// Raw input.
    Raw,
    /// A low-level hook was called.
    Hook,
}

/// A key's motion as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub source: Source,
    pub motion: Motion,
    /// With `keycodes::EXTENDED`.
    pub scan: u16,
    pub vk: u16,
    /// What the sender has put beside it: nothing in the case of a keyboard.
    pub extra: usize,
    pub at: Duration,
}

impl Record {
    pub fn key(&self) -> Key {
        keycodes::key(Code { vk: self.vk, scan: self.scan })
    }

    /// Reads a line; `None` if it is none of a record.
    pub fn parse(line: &str) -> Option<Record> {
        let words: Vec<&str> = line.split(' ').collect();
        let [source, key, scan, vk, extra, at] = words[..] else { return None };
        Some(Record {
            source: match source {
                "window" => Source::Window,
                "raw" => Source::Raw,
                "hook" => Source::Hook,
                _ => return None,
            },
            motion: match key.chars().next()? {
                '+' => Motion::Press,
                '-' => Motion::Release,
                '~' => Motion::Repeat,
                _ => return None,
            },
            scan: u16::from_str_radix(scan.strip_prefix("scan=")?, 16).ok()?,
            vk: u16::from_str_radix(vk.strip_prefix("vk=")?, 16).ok()?,
            extra: usize::from_str_radix(extra.strip_prefix("extra=")?, 16).ok()?,
            at: Duration::from_micros(at.strip_prefix("at=")?.parse().ok()?),
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Window => "window",
            Source::Raw => "raw",
            Source::Hook => "hook",
        };
        let sign = match self.motion {
            Motion::Press => '+',
            Motion::Release => '-',
            Motion::Repeat => '~',
        };
        let Record { scan, vk, extra, .. } = self;
        let at = self.at.as_micros();
        write!(out, "{source} {sign}{} scan={scan:x} vk={vk:x} extra={extra:x} at={at}", self.key())
    }
}
