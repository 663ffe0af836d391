//! The counters of live resources, in this process: the platform is run as keyrx runs it.

use keyrx_engine::{DeviceInfo, Effects};
use keyrx_platform::live::{Kind, count};
use keyrx_platform::native::{Waker, run};
use keyrx_platform::{Event, Handler, Next, Options};

use super::{Case, Clocks};

const KINDS: [Kind; 6] = [Kind::Keyboard, Kind::Grab, Kind::Uinput, Kind::Epoll, Kind::Inotify, Kind::Waker];

pub const CASES: &[Case] = &[Case {
    name: "every resource is counted while a keyboard is read, and none is left",
    clocks: Clocks::Both,
    run: |scene| {
        let _keyboard = scene.plug("Keychron K2");
        let waker = Waker::new().unwrap();
        for wants in [true, false] {
            let mut looks = Looks { wants, seen: Vec::new() };
            run(&mut looks, &waker, &Options::default()).unwrap();
            let keyboards = u64::from(wants);
            assert_eq!(looks.seen, [keyboards, keyboards, 2, 1, 1, 1]);
            assert_eq!(KINDS.map(count), [0, 0, 0, 0, 0, 1]);
        }
        drop(waker);
        assert_eq!(count(Kind::Waker), 0);
    },
}];

/// Looks what there is when all is running.
struct Looks {
    wants: bool,
    seen: Vec<u64>,
}

impl Handler for Looks {
    fn wants(&self, _: &DeviceInfo) -> bool {
        self.wants
    }

    fn handle(&mut self, event: Event<'_>, _: &mut dyn Effects) -> Next {
        if matches!(event, Event::Ready) {
            self.seen = KINDS.map(count).to_vec();
            return Next::Stop;
        }
        Next::Wait(None)
    }
}
