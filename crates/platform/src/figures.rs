//! What the system says of our process: what it uses, and which of its threads uses how much of it.

use std::time::{Duration, SystemTime};

/// A reading. What cannot be found out is missing, and the rest is there all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// All threads, those of libraries among them. Some may have the same name.
    pub threads: Vec<ThreadFigures>,
    /// The time that all threads have computed, those that have ended among them.
    pub cpu: Option<Duration>,
    /// Bytes in memory.
    pub resident: Option<u64>,
    /// Linux: open files. Windows: handles; 0 means that it does not count them (Wine).
    pub handles: Option<u64>,
    /// Windows: GDI objects.
    pub gdi_objects: Option<u64>,
    /// Windows: USER objects, such as windows, hooks and menus.
    pub user_objects: Option<u64>,
    /// When the process was started. It stays the same for as long as the process lives.
    pub started: Option<SystemTime>,
}

/// A queue, as it is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How much waits.
    pub depth: u64,
    /// How much can wait.
    pub capacity: u64,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadFigures {
    /// Empty if it has none.
    pub name: String,
    /// The time that it has computed.
    pub cpu: Duration,
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::live::tests::alone;
    use crate::native::figures;
    use crate::threads::{Stop, Threads};

    const BUSY: Duration = Duration::from_millis(200);

    #[test]
    fn a_thread_is_known_by_its_name_and_by_what_it_computes() {
        let _alone = alone();
        let (done, is_done) = channel();
        let (end, ended) = channel::<()>();
        let mut threads = Threads::default();
        let busy = move |_: &Stop| {
            // What it computes is asked of the figures themselves: a loaded machine lets it wait.
            let cpu = || figures().threads.iter().find(|thread| thread.name == "busy-thread").unwrap().cpu;
            while cpu() < BUSY {
                black_box((0..1_000_000_u64).fold(0, |sum, number| black_box(sum ^ number)));
            }
            done.send(()).unwrap();
            let _ = ended.recv();
        };
        threads.start("busy-thread", move || _ = end.send(()), busy).unwrap();
        threads
            .start(
                "idle-thread",
                || {},
                |stop| {
                    while !stop.is_requested() {
                        thread::park()
                    }
                },
            )
            .unwrap();
        is_done.recv_timeout(Duration::from_secs(60)).unwrap();
        let cpu = |name: &str| {
            let all = figures();
            let found = all.threads.iter().filter(|thread| thread.name == name).collect::<Vec<_>>();
            assert_eq!(found.len(), 1, "{name}: {all:?}");
            found[0].cpu
        };
        assert!(cpu("busy-thread") >= BUSY && cpu("idle-thread") < BUSY);
        assert!(figures().cpu.unwrap() >= BUSY, "the process computes what its threads do");
        assert!(threads.stop().is_empty());
        let names = figures().threads.into_iter().map(|thread| thread.name).collect::<Vec<_>>();
        assert!(!names.contains(&"busy-thread".to_owned()), "{names:?}");
        assert!(figures().cpu.unwrap() >= BUSY, "a thread that has ended is not forgotten");
    }

    #[test]
    fn memory_that_is_used_is_resident() {
        const BYTES: usize = 64 << 20;
        let before = figures().resident.unwrap();
        let used = black_box(vec![1_u8; BYTES]);
        let grown = figures().resident.unwrap().saturating_sub(before);
        assert!(grown > BYTES as u64 / 2, "{grown} bytes more");
        drop(used);
    }

    #[test]
    fn the_start_lies_in_the_past_and_stays_where_it_is() {
        let started = figures().started.unwrap();
        let age = started.elapsed().unwrap();
        assert!(age < Duration::from_secs(600), "{age:?}");
        thread::sleep(Duration::from_millis(20));
        assert_eq!(figures().started.unwrap(), started);
    }

    #[test]
    fn a_reading_is_cheap() {
        figures();
        let begin = Instant::now();
        (0..20).for_each(|_| drop(black_box(figures())));
        let each = begin.elapsed() / 20;
        println!("a reading takes {each:?}");
        // What it is on Linux by far, and of the order of which it is on Windows, is a millisecond. This machine may be
        // loaded, and Wine asks its server for each thread of each process.
        assert!(each < Duration::from_millis(200), "{each:?}");
    }
}
