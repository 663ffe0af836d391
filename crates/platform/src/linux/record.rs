//! The kernel's `struct input_event`: what evdev nodes are read and uinput nodes written with.

use keyrx_engine::Time;

/// What `Record::kind` can be, and the codes of `SYN`.
pub const EV_SYN: u16 = 0x00;
pub const EV_KEY: u16 = 0x01;
pub const EV_REL: u16 = 0x02;
pub const EV_LED: u16 = 0x11;
pub const SYN_REPORT: u16 = 0;
pub const SYN_DROPPED: u16 = 3;

/// Bytes in a record: seconds and microseconds as machine words, then kind, code and value.
pub const SIZE: usize = 2 * WORD + 8;

const WORD: usize = size_of::<usize>();

/// One thing a device reports, or is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub time: Time,
    pub kind: u16,
    pub code: u16,
    pub value: i32,
}

impl Record {
    /// A record to be written; its time is the kernel's business.
    pub fn new(kind: u16, code: u16, value: i32) -> Record {
        Record { time: Time::ZERO, kind, code, value }
    }

    /// Ends a group of records: only then the kernel passes them on.
    pub fn report() -> Record {
        Record::new(EV_SYN, SYN_REPORT, 0)
    }

    /// Every whole record in `bytes`.
    pub fn decode(bytes: &[u8]) -> impl Iterator<Item = Record> {
        bytes.as_chunks::<SIZE>().0.iter().filter_map(|record| {
            let (seconds, rest) = record.split_first_chunk::<WORD>()?;
            let (micros, rest) = rest.split_first_chunk::<WORD>()?;
            let (kind, rest) = rest.split_first_chunk::<2>()?;
            let (code, rest) = rest.split_first_chunk::<2>()?;
            let value = rest.first_chunk::<4>()?;
            let (seconds, micros) =
                (usize::from_ne_bytes(*seconds) as u64, usize::from_ne_bytes(*micros) as u64);
            Some(Record {
                time: Time::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)),
                kind: u16::from_ne_bytes(*kind),
                code: u16::from_ne_bytes(*code),
                value: i32::from_ne_bytes(*value),
            })
        })
    }

    /// The record without its time, as bytes.
    pub fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        if let Some(end) = bytes.last_chunk_mut::<8>() {
            let ([a, b], [c, d]) = (self.kind.to_ne_bytes(), self.code.to_ne_bytes());
            let [e, f, g, h] = self.value.to_ne_bytes();
            *end = [a, b, c, d, e, f, g, h];
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let records = [Record::new(EV_KEY, 767, 2), Record::new(EV_REL, 1, -5), Record::report()];
        let mut bytes = records.map(Record::encode).concat();
        bytes.push(0);
        assert_eq!(Record::decode(&bytes).collect::<Vec<_>>(), records);
    }

    #[test]
    fn the_time_is_in_microseconds() {
        let mut bytes = Record::report().encode();
        bytes[..WORD].copy_from_slice(&7_usize.to_ne_bytes());
        bytes[WORD..2 * WORD].copy_from_slice(&250_000_usize.to_ne_bytes());
        assert_eq!(Record::decode(&bytes).next().unwrap().time, Time::from_millis(7250));
    }
}
