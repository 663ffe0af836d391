//! keyrx as a service: from its installation to its removal, and what becomes of it when parts of it die.

use std::fs;
use std::panic::panic_any;
use std::time::Duration;

use windows_sys::Win32::System::Services::{SERVICE_RUNNING, SERVICE_START_PENDING, SERVICE_STOP_PENDING};

use super::Case;
use crate::windows::process::{Process, Says};
use crate::windows::scene::{Late, Scene};
use crate::windows::service::{self, Paused, Service, Shown, machine};
use crate::windows::time::{ms, now};

pub const CASES: &[Case] = &[
    Case {
        name: "service: installed and started it maps keys and is healthy at both ports; stopped and uninstalled nothing is left",
        run: |scene| {
            let service = Service::new(scene);
            assert!(service.does(&["install"]).contains("installed"));
            let shown = service::start_and_watch(SERVICE_RUNNING);
            let pending = shown.iter().filter(|shown| shown.state == SERVICE_START_PENDING);
            let checkpoints = pending.map(|shown| shown.checkpoint).collect::<Vec<_>>();
            assert!(checkpoints.len() >= 2, "{shown:?}");
            assert!(
                checkpoints.is_sorted() && checkpoints[0] < checkpoints[checkpoints.len() - 1],
                "{shown:?}"
            );
            assert_eq!(shown.last().map(|shown| shown.state), Some(SERVICE_RUNNING), "{shown:?}");
            service.until_mapped(scene);
            scene.check("+A 50 -A", "+B @50 -B");
            let health = service.until_health(scene, r#""status":"healthy""#);
            for component in ["web_server", "platform_hooks", "config_loaded", "remapping_active"] {
                assert!(health.contains(&format!(r#""{component}":"healthy""#)), "{health}");
            }
            assert_eq!(service.asked("/health").0, 200);
            assert_eq!(service.asked("/livez"), (200, "ok\n".into()));
            assert_eq!(service.asked("/readyz"), (200, "ok\n".into()));
            let (code, metrics) = service.asked("/metrics");
            assert_eq!(code, 200);
            assert!(metrics.contains("keyrx_service_sessions{state=\"answering\"} 1"), "{metrics}");
            assert_eq!(service.asked("/api/status").0, 404);
            let port = service.port().unwrap();
            assert!(service::ask(port, "/health").unwrap().1.contains(r#""status":"healthy""#));

            let keyrx = service.keyrx();
            let begin = now();
            service.does(&["stop"]);
            assert!(now() - begin < ms(5000), "it took {} ms", (now() - begin).as_millis());
            assert_eq!(keyrx.exit_code(), Some(0), "keyrx ends with the service, in order");
            scene.check_native("+A 50 -A");
            assert_eq!(service.command(&["status"]).0, Some(4));
            service.does(&["uninstall"]);
            let (code, said) = service.command(&["status", "--json"]);
            assert_eq!((code, said.trim()), (Some(4), r#"{"installed":false}"#));
        },
    },
    Case {
        name: "service: what is done twice is done once: install, start, stop, uninstall",
        run: |scene| {
            let service = Service::new(scene);
            service.does(&["uninstall"]);
            assert_eq!(service.command(&["start"]).0, Some(4), "it is not installed");
            service.does(&["install"]);
            assert!(service.does(&["install"]).contains("up to date"));
            service.does(&["start"]);
            let (_, status) = service.command(&["status", "--json"]);
            assert!(service.does(&["start"]).contains("running already"));
            assert_eq!(service.command(&["status", "--json"]).1, status, "it is the same process");
            assert!(status.contains(r#""state":"running""#) && status.contains("service run"), "{status}");
            service.until_mapped(scene);
            service.does(&["restart"]);
            service.until_mapped(scene);
            service.does(&["stop"]);
            assert!(service.does(&["stop"]).contains("not running"));
            service.does(&["uninstall"]);
            service.does(&["uninstall"]);
        },
    },
    Case {
        name: "service: installed with --strict where the system refuses something, nothing is left, and what was there stays",
        run: |scene| {
            let service = Service::new(scene);
            let source = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\keyrx";
            let has_source = || Process::program("reg.exe".as_ref(), &["query", source]).end().0 == Some(0);
            let (code, said) = service.complaint(&["install", "--strict"]);
            assert_eq!(code, Some(70), "{said}");
            assert_eq!(said.matches("124").count(), 1, "it is said once: {said}");
            assert_eq!(service.command(&["status"]).0, Some(4));
            assert!(!has_source(), "the source of events is left");
            let (_, said) = service.complaint(&["install"]);
            assert!(said.contains("this system refuses"), "{said}");
            assert_eq!(service.complaint(&["install", "--strict"]).0, Some(70));
            assert!(has_source());
            service.does(&["start"]);
            service.until_mapped(scene);
        },
    },
    Case {
        name: "service: told to stop while it starts, or to start while it stops, it does in the end what was said last",
        run: |scene| {
            let service = Service::new(scene);
            service.does(&["install"]);
            // What is said while it stands still between two states, and what has become of it.
            let meanwhile = |scene: &mut Scene, shown: &[Shown], words: &[&str]| {
                let paused = Paused::new(shown.last().expect("something is shown").pid);
                let command = service.begin(words, Says::Stdout);
                scene.watch(ms(700));
                drop(paused);
                let (code, said) = command.end();
                assert_eq!(code, Some(0), "keyrx service {words:?}: {said}");
                service.command(&["status"])
            };
            let starting = || service::start_and_watch(SERVICE_START_PENDING);
            let stopping = || service::stop_and_watch(SERVICE_STOP_PENDING);
            assert_eq!(meanwhile(scene, &starting(), &["start"]).0, Some(0));
            assert_eq!(meanwhile(scene, &stopping(), &["stop"]).0, Some(4));
            assert_eq!(meanwhile(scene, &starting(), &["stop"]).0, Some(4));
            service.does(&["start"]);
            assert_eq!(meanwhile(scene, &stopping(), &["start"]).0, Some(0));
            service.does(&["stop"]);
            let (_, said) = meanwhile(scene, &starting(), &["uninstall"]);
            assert!(said.contains("not installed"), "{said}");
        },
    },
    Case {
        name: "service: its status names its version and its program, and tells another program from it",
        run: |scene| {
            let service = Service::new(scene);
            service.does(&["install"]);
            service.does(&["start"]);
            let status = service.does(&["status", "--json"]);
            let path = service.program.display().to_string().replace('\\', r"\\");
            assert!(status.contains(&format!(r#""program":"{path}""#)), "{status}");
            assert!(status.contains(r#""version":"2."#), "{status}");
            assert!(status.contains(r#""is_this_program":true"#), "{status}");
            let other = scene.home().join("other.exe");
            fs::copy(&service.program, &other).unwrap();
            let (code, said) = Process::program(&other, &["service", "status", "--json"]).end();
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains(r#""is_this_program":false"#), "{said}");
            let (_, said) = Process::program(&other, &["service", "status"]).end();
            assert!(said.contains("another program"), "{said}");
            service.does(&["stop"]);
            let (_, status) = service.command(&["status", "--json"]);
            assert!(status.contains(r#""version":null"#), "{status}");
        },
    },
    Case {
        name: "service: killed 50 times, keyrx maps again within 5 s, half the time within 0.5 s",
        run: |scene| {
            let mut service = Service::new(scene);
            let mut times: Vec<Duration> = Vec::new();
            while times.len() < 50 {
                service.start_in_console();
                service.until_mapped(scene);
                // More in a row would have it wait longer, and lead to safe mode.
                for _ in 0..2 {
                    let keyrx = service.keyrx();
                    let begin = now();
                    keyrx.terminate(1).unwrap();
                    scene.until_mapped(ms(5000));
                    times.push(now() - begin);
                }
                let (code, said) = service.stop_console();
                assert_eq!(code, Some(0), "{said}");
                fs::remove_file(machine().join("session-1.lifecycle")).unwrap();
                fs::remove_dir_all(service::user()).unwrap();
            }
            times.sort_unstable();
            let [median, worst] = [times[times.len() / 2], times[times.len() - 1]];
            println!(
                "       {} kills: mapped again after {} ms (median), {} ms (at most)",
                times.len(),
                median.as_millis(),
                worst.as_millis()
            );
            if median >= ms(500) {
                panic_any(Late(format!("{times:?}")));
            }
        },
    },
    Case {
        name: "service: a keyrx that hangs with all its threads is found, dumped, and mapped again within 5 s",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let hung = service.keyrx();
            let begin = now();
            service::freeze(hung.id());
            // What is typed while the system waits for a hook comes late: it is not typed before there is a new one.
            scene.wait(ms(10_000), "the hung keyrx to be ended", |_| hung.exit_code().is_some());
            scene.until_mapped(ms(5000));
            let took = now() - begin;
            println!("       mapped again after {} ms", took.as_millis());
            if took >= ms(5000) {
                panic_any(Late(format!("mapped again after {} ms\n{}", took.as_millis(), service.log())));
            }
            let reports = fs::read_dir(machine().join("crashes")).unwrap().flatten();
            let reports =
                reports.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect::<Vec<_>>();
            let is_its = |report: &String| {
                report.contains(r#""cause":"hung""#) && report.contains(&format!("\"pid\":{}", hung.id()))
            };
            assert!(reports.iter().any(is_its), "{reports:?}");
        },
    },
    Case {
        name: "service: with time for it, a keyrx that hangs leaves a dump that can be read",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console_with(&["--dump-wait", "60"]);
            service.until_mapped(scene);
            let hung = service.keyrx();
            service::freeze(hung.id());
            scene.wait(ms(90_000), "the hung keyrx to be ended", |_| hung.exit_code().is_some());
            scene.until_mapped(ms(5000));
            let files = fs::read_dir(machine().join("crashes")).unwrap().map(|entry| entry.unwrap().path());
            let dump = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "dmp"));
            super::crashes::check(&dump.expect("there is a dump"));
        },
    },
    Case {
        name: "service: without an administrator nothing is installed, stopped or removed, and the exit code says why",
        run: |scene| {
            let service = Service::new(scene);
            let refused = |words: &str| {
                let code = service::run_without_rights(&service.program, &format!("service {words}"));
                assert_eq!(code, 3, "keyrx service {words}");
            };
            refused("install");
            assert_eq!(service.command(&["status"]).0, Some(4), "it is not there");
            service.does(&["install"]);
            service.does(&["start"]);
            service.until_mapped(scene);
            refused("uninstall");
            refused("install");
            assert_eq!(service.command(&["status"]).0, Some(0), "it runs");
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "service: killed, it leaves a keyrx that maps on, which is adopted by the next",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let keyrx = service.keyrx();
            service.kill_console();
            for _ in 0..3 {
                scene.check("+A 50 -A", "+B @50 -B");
            }
            service.start_in_console();
            // All is well but for what has happened.
            let health = service.until_health(scene, r#""remapping_active":"healthy""#);
            assert!(
                health.contains("1 crashes of the service") && !health.contains("crashes of keyrx"),
                "{health}"
            );
            scene.check("+A 50 -A", "+B @50 -B");
            assert_eq!((keyrx.exit_code(), service.keyrx().id()), (None, keyrx.id()), "it is the same keyrx");
            assert_eq!(service.logged("\"adopted\"").len(), 1, "{}", service.log());
            assert_eq!(service.logged("\"launched\"").len(), 1, "{}", service.log());
            // It is watched as before.
            keyrx.terminate(1).unwrap();
            scene.until_mapped(ms(5000));
            assert_ne!(service.keyrx().id(), keyrx.id());
            let (code, said) = service.stop_console();
            assert_eq!(code, Some(0), "{said}");
        },
    },
    Case {
        name: "service: without its record of it, it adopts a keyrx that goes on all the same",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let keyrx = service.keyrx();
            service.kill_console();
            for record in ["session-1.lifecycle", "service.lifecycle"] {
                fs::write(machine().join(record), b"\xff\0 nonsense\n{}").unwrap();
            }
            service.start_in_console();
            let adopted = |_: &mut Scene| !service.logged("\"adopted\"").is_empty();
            scene.wait(ms(10_000), "keyrx to be adopted", adopted);
            service.until_health(scene, r#""remapping_active":"healthy""#);
            scene.check("+A 50 -A", "+B @50 -B");
            assert_eq!((keyrx.exit_code(), service.keyrx().id()), (None, keyrx.id()));
        },
    },
    Case {
        name: "service: without a service keyrx maps for half a minute, and then ends in order",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let keyrx = service.keyrx();
            service.kill_console();
            let begin = now();
            scene.watch(ms(25_000));
            scene.check("+A 50 -A", "+B @50 -B");
            scene.wait(ms(20_000), "keyrx to end", |_| keyrx.exit_code().is_some());
            assert!(now() - begin >= ms(29_000));
            assert_eq!(keyrx.exit_code(), Some(0));
            scene.check_native("+A 50 -A");
        },
    },
    Case {
        name: "service: both killed, the keyboard is plain, and mapped again with the service",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let keyrx = service.keyrx();
            service.kill_console();
            keyrx.terminate(1).unwrap();
            keyrx.wait();
            scene.check_native("+A 50 -A");
            service.start_in_console();
            service.until_mapped(scene);
        },
    },
    Case {
        name: "service: a keyrx that dies at each start comes back later and later, in safe mode at the fifth, and is well when the keymap has changed",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            for _ in 0..5 {
                let mut pid = None;
                scene.wait(ms(20_000), "the next keyrx", |_| {
                    pid = service.logged("\"launched\"").last().and_then(|line| number(line, "\"pid\":"));
                    pid.is_some_and(is_running)
                });
                let keyrx = keyrx_platform::native::process::Process::open(pid.unwrap()).unwrap();
                keyrx.terminate(0xC000_0005).unwrap(); // as an access to memory that is not there does
                keyrx.wait();
                let deaths = service.logged("\"keyrx_died\"").len();
                scene.wait(ms(5000), "the death to be seen", |_| {
                    service.logged("\"keyrx_died\"").len() >= deaths
                });
            }
            let health = service.until_health(scene, "safe mode");
            assert!(health.contains(r#""status":"degraded""#), "{health}");
            // The waits before each start, as its record has them: in 0, 250, 500, 1000, 2000 ms, a fifth more or less.
            let read = || fs::read_to_string(machine().join("session-1.lifecycle")).unwrap_or_default();
            let has_six = |_: &mut Scene| read().matches("\"event\":\"child\"").count() == 6;
            scene.wait(ms(10_000), "the keyrx in safe mode", has_six);
            let record = read();
            let at = |what: &str| {
                let lines = record.lines().filter(|line| line.contains(&format!("\"event\":\"{what}\"")));
                lines.filter_map(|line| number(line, "\"at_ms\":")).map(u64::from).collect::<Vec<_>>()
            };
            let (starts, deaths) = (at("child"), at("died"));
            assert_eq!((starts.len(), deaths.len()), (6, 5), "{record}");
            for ((death, start), wait) in deaths.iter().zip(&starts[1..]).zip([0_u64, 250, 500, 1000, 2000]) {
                let took = start - death;
                let (least, most) = (wait * 4 / 5, wait * 6 / 5 + 700); // the system takes its time to start a program
                assert!((least..=most).contains(&took), "{took} ms instead of {wait}\n{record}");
            }
            let modes = service.logged("\"launched\"");
            let modes = modes.iter().filter_map(|line| line.split("\"mode\":\"").nth(1)?.split('"').next());
            assert_eq!(modes.collect::<Vec<_>>(), ["normal", "normal", "normal", "normal", "normal", "safe"]);
            scene.check_native("+A 50 -A");
            service.keymap(r#"map("A", "B"); map("C", "D");"#);
            service.until_mapped(scene);
        },
    },
    Case {
        name: "service: with a keymap that is broken since before, the last good one maps, and health says where it is broken",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            service.until_health(scene, r#""status":"healthy""#);
            service.stop_console();
            service.keymap("map(\"A\", \"B\");\nmap(\"A\"");
            service.start_in_console();
            service.until_mapped(scene);
            let health = service.until_health(scene, "config_last_good");
            assert!(
                health.contains(r#""status":"degraded""#) && health.contains("default.rhai:2"),
                "{health}"
            );
            assert_eq!(service.asked("/readyz").0, 200);
        },
    },
    Case {
        name: "service: with settings that are wrong the usual ones hold, and keys are mapped",
        run: |scene| {
            let mut service = Service::new(scene);
            let settings = machine().join("keyrx.toml");
            let right = fs::read_to_string(&settings).unwrap();
            service.start_in_console();
            service.until_mapped(scene);
            fs::write(&settings, right + "prot = 1\n").unwrap();
            service.keyrx().terminate(1).unwrap();
            // The keyboard of the tests is none that the usual settings map, so that its keys pass.
            let log = || fs::read_to_string(service::user().join("keyrx.log")).unwrap_or_default();
            scene.wait(ms(10_000), "keyrx to say what is wrong", |_| {
                log().contains("keyrx.toml:4: there is no setting")
            });
            scene.wait(ms(10_000), "keyrx to run", |_| service.pid().is_some_and(is_running));
            scene.check_native("+A 50 -A");
            service.until_health(scene, r#""platform_hooks":"healthy""#);
        },
    },
    Case {
        name: "service: a second one says that one is running, which goes on",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let (code, _) = service.command(&["run", "--console"]);
            assert_eq!(code, Some(3));
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "service: a foreign program at its pipe is not let in, and nothing else comes of it",
        run: |scene| {
            let mut service = Service::new(scene);
            service.start_in_console();
            service.until_mapped(scene);
            let name = fs::read_to_string(machine().join("service.pipe")).unwrap();
            for bytes in [&b"\x08\0\0\0\x01READY=1"[..], &[0xff; 4096], b""] {
                let foreign = keyrx_platform::native::pipe::Connection::connect(&name).unwrap();
                let _ = foreign.write_all(bytes, ms(1000));
                assert_eq!(foreign.read(&mut [0; 16]).unwrap_or_default(), 0, "it is not listened to");
            }
            let refused = |_: &mut Scene| service.logged("\"client_refused\"").len() >= 3;
            scene.wait(ms(5000), "the refusals to be told", refused);
            scene.check("+A 50 -A", "+B @50 -B");
            service.until_health(scene, r#""status":"healthy""#);
        },
    },
];

/// A number in a line of JSON.
fn number(line: &str, name: &str) -> Option<u32> {
    let rest = line.split(name).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_running(pid: u32) -> bool {
    keyrx_platform::native::process::Process::open(pid).is_ok_and(|process| process.exit_code().is_none())
}
