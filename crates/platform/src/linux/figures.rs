//! What the kernel says of our process in `/proc/self`.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::{Figures, ThreadFigures};

/// What our process uses right now.
pub fn figures() -> Figures {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    // The directory that is read is an open file itself.
    let handles = fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
    static STARTED: OnceLock<Option<SystemTime>> = OnceLock::new();
    Figures {
        threads: stats.filter_map(|stat| thread(&stat)).collect(),
        cpu: Some(duration(clock_gettime(ClockId::ProcessCPUTime))),
        resident: resident(),
        handles,
        started: *STARTED.get_or_init(started),
        ..Figures::default()
    }
}

/// A thread by its `stat`: `123 (name) S ...`. The name may have any characters in it.
fn thread(stat: &str) -> Option<ThreadFigures> {
    let (begin, rest) = stat.rsplit_once(") ")?;
    let (_, name) = begin.split_once(" (")?;
    // Counted from the state on: user time and system time.
    let mut times = rest.split(' ').skip(11).map(str::parse);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(ThreadFigures { name: name.to_owned(), cpu: ticks(u64::saturating_add(user, system)) })
}

/// `statm` counts pages: of the address space, and of those the ones in memory.
fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<u64>().ok()?;
    pages.checked_mul(page_size() as u64)
}

/// The kernel tells how long after its own start ours was, by a clock that also runs while the machine sleeps.
fn started() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let after_boot = ticks(rest.split(' ').nth(19)?.parse().ok()?);
    let age = duration(clock_gettime(ClockId::Boottime)).saturating_sub(after_boot);
    SystemTime::now().checked_sub(age)
}

fn ticks(ticks: u64) -> Duration {
    let per_second = clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_thread_may_have_any_name() {
        let stat = |name: &str| format!("7 ({name}) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99 0 0\n");
        for name in ["plain", "a) R 1 (b", "", "two words"] {
            let cpu = ticks(300);
            assert_eq!(thread(&stat(name)), Some(ThreadFigures { name: name.into(), cpu }));
        }
        for damaged in ["", "7", "7 (x", "7 (x) R 1 2", "7 (x) R 1 2 3 4 5 6 7 8 9 10 -1 x"] {
            assert_eq!(thread(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn open_files_are_counted() {
        let _alone = crate::live::tests::alone();
        let before = figures().handles.unwrap();
        let files = [(); 20].map(|()| File::open("/dev/null").unwrap());
        let now = figures().handles.unwrap();
        // Other tests may be at work in the same process.
        assert!((before + 10..before + 40).contains(&now), "{before}, then {now}");
        drop(files);
    }
}
