//! The scenario notation: key events and effects as text, for tests, reports and people.
//!
//! `+A 50 -A` is a press, 50 ms, and a release; `~A` is a repeat; `@120` is the moment 120 ms after the start.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::event::{Effect, Motion, Time};
use crate::key::Key;

/// A key's motion at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub time: Time,
    /// What it does.
    pub motion: Motion,
    /// Which key.
    pub key: Key,
}

impl From<Effect> for Moment {
    fn from(Effect { time, motion, key, .. }: Effect) -> Moment {
        Moment { time, motion, key }
    }
}

/// A word that is not in the notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotationError {
    /// Where the word begins in the text, in bytes.
    pub offset: usize,
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is neither an event nor a time.
    NotAWord,
    /// No key has that name.
    UnknownKey,
    /// A time has more than three decimals, or is too long.
    BadTime,
    /// An absolute time lies before what comes before it.
    RunsBack,
}

impl fmt::Display for NotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = &self.word;
        match self.problem {
            Problem::NotAWord => {
                write!(f, "`{word}` is neither a key (`+A`, `-A`, `~A`) nor a time (`50`, `@120`)")
            }
            Problem::UnknownKey => write!(f, "`{word}`: there is no key of that name"),
            Problem::BadTime => write!(f, "`{word}`: a time is in milliseconds with at most three decimals"),
            Problem::RunsBack => write!(f, "`{word}` lies before the time reached so far"),
        }
    }
}

impl core::error::Error for NotationError {}

/// Reads `text`, with the clock at `start`. Returns the events in order and the time at the end.
pub fn parse(text: &str, start: Time) -> Result<(Vec<Moment>, Time), NotationError> {
    let mut moments = Vec::new();
    let mut time = start;
    let mut offset = 0_usize;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        if !word.is_empty() {
            let error = |problem| NotationError { offset, word: word.to_owned(), problem };
            match Word::parse(word).map_err(error)? {
                Word::Key(motion, key) => moments.push(Moment { time, motion, key }),
                Word::Wait(wait) => time = Time::from_micros(time.micros().saturating_add(wait)),
                Word::At(at) if at < time.micros() => return Err(error(Problem::RunsBack)),
                Word::At(at) => time = Time::from_micros(at),
            }
        }
        offset = offset.saturating_add(piece.len());
    }
    Ok((moments, time))
}

enum Word {
    Key(Motion, Key),
    Wait(u64),
    At(u64),
}

impl Word {
    fn parse(word: &str) -> Result<Word, Problem> {
        let key = |motion, name| Ok(Word::Key(motion, Key::from_name(name).ok_or(Problem::UnknownKey)?));
        match (word.strip_prefix('+'), word.strip_prefix('-'), word.strip_prefix('~')) {
            (Some(name), _, _) => return key(Motion::Press, name),
            (_, Some(name), _) => return key(Motion::Release, name),
            (_, _, Some(name)) => return key(Motion::Repeat, name),
            _ => {}
        }
        match word.strip_prefix('@') {
            Some(time) => micros(time).map(Word::At),
            None => micros(word).map(Word::Wait),
        }
    }
}

/// Milliseconds with up to three decimals, in microseconds.
fn micros(text: &str) -> Result<u64, Problem> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) {
        return Err(Problem::NotAWord);
    }
    let scale = match decimals.len() {
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return Err(Problem::BadTime),
    };
    let decimals = decimals.parse::<u64>().map_err(|_| Problem::BadTime)?;
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1000));
    whole.and_then(|whole| whole.checked_add(decimals.checked_mul(scale)?)).ok_or(Problem::BadTime)
}

/// Writes moments in the notation: `@n` wherever the time is another than before, beginning at 0.
pub fn print(moments: impl IntoIterator<Item = Moment>) -> String {
    let mut text = String::new();
    let mut time = Time::ZERO;
    for moment in moments {
        if moment.time != time {
            time = moment.time;
            // Writing to a string does not fail.
            let _ = write!(text, "{}@{}", space(&text), Millis(time));
        }
        let sign = match moment.motion {
            Motion::Press => '+',
            Motion::Release => '-',
            Motion::Repeat => '~',
        };
        let _ = write!(text, "{}{sign}{}", space(&text), moment.key);
    }
    text
}

fn space(text: &str) -> &'static str {
    if text.is_empty() { "" } else { " " }
}

/// A time in milliseconds, with as many decimals as it needs.
struct Millis(Time);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.micros();
        let (whole, rest) = (micros.checked_div(1000).unwrap_or(0), micros.checked_rem(1000).unwrap_or(0));
        write!(f, "{whole}")?;
        if rest > 0 {
            let decimals = alloc::format!("{rest:03}");
            write!(f, ".{}", decimals.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, printed: &str) {
        let (moments, _) = parse(text, Time::ZERO).unwrap();
        assert_eq!(print(moments.iter().copied()), printed);
        assert_eq!(parse(printed, Time::ZERO).unwrap().0, moments);
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        check("+A 50 -A", "+A @50 -A");
        check("@0 +CapsLock  ~VK_Esc 0.25 -Ent\n10.5 @20 +KeyA", "+CapsLock ~Escape @0.25 -Enter @20 +A");
        check("+Key#240 0.007 -Key#240", "+Key#240 @0.007 -Key#240");
        check("", "");
    }

    #[test]
    fn waits_at_the_end_count() {
        assert_eq!(parse("+A 50.001 ", Time::from_millis(7)).unwrap().1, Time::from_micros(57_001));
    }

    #[test]
    fn errors_name_the_word_and_its_place() {
        for (text, offset, problem) in [
            ("+A A", 3, Problem::NotAWord),
            ("+A +Foo", 3, Problem::UnknownKey),
            ("+A 1.2345", 3, Problem::BadTime),
            ("é", 0, Problem::NotAWord),
            ("+A 99999999999999999999", 3, Problem::BadTime),
            ("+A 50 @20", 6, Problem::RunsBack),
            ("-", 0, Problem::UnknownKey),
            ("1..2", 0, Problem::NotAWord),
        ] {
            let error = parse(text, Time::ZERO).unwrap_err();
            assert_eq!((error.offset, error.problem), (offset, problem), "{text}: {error}");
        }
    }
}
