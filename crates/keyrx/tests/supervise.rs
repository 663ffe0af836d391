//! Deaths and what becomes of them, with the real program: `keyrx supervise`, the modes of `keyrx run`, and what it
//! tells systemd.
//!
//! No keyboard is touched. Exact delays are a matter of `supervisor.rs` and its own tests; here they are real ones.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const KEYRX: &str = env!("CARGO_BIN_EXE_keyrx");
const KEYMAP: &str = r#"device("a keyboard that nobody has", || { map("A", "B"); });"#;

/// Longer than anything may take, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of the test's own, with a keymap in it.
struct Home(PathBuf);

impl Home {
    fn new(test: &str) -> Home {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("supervise-{test}"));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
        Home(home)
    }

    /// Starts keyrx, without a terminal that SIGHUP would be about.
    fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = Command::new("setsid");
        command.arg(KEYRX).args(arguments).current_dir(&self.0).stdin(Stdio::null()).stdout(Stdio::null());
        command.env_clear().env("HOME", &self.0).env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(variables.iter().copied());
        let said = self.0.join("said");
        command.stderr(File::options().create(true).append(true).open(said).unwrap());
        Running(command.spawn().unwrap())
    }

    fn run(&self) -> Running {
        self.start(&RUN, &[])
    }

    /// `keyrx supervise -- keyrx run`
    fn supervise_run(&self) -> Running {
        self.start(&[&["supervise", "--", KEYRX][..], &RUN].concat(), &[])
    }

    fn supervise_script(&self, script: &str) -> Running {
        self.start(&["supervise", "--", "sh", "-c", script], &[])
    }

    /// What was said on stderr.
    fn said(&self) -> String {
        fs::read_to_string(self.0.join("said")).unwrap_or_default()
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// The events that were logged.
    fn log(&self) -> Vec<String> {
        let event =
            |line: String| Some(serde_json::from_str::<Value>(&line).ok()?["event"].as_str()?.to_owned());
        self.lines(".local/state/keyrx/keyrx.log").into_iter().filter_map(event).collect()
    }

    fn count(&self, event: &str) -> usize {
        self.log().iter().filter(|logged| *logged == event).count()
    }

    /// The process that holds the lock.
    fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.0.join(".local/state/keyrx/run.pid")).unwrap();
        u32::try_from(serde_json::from_str::<Value>(&text).unwrap()["pid"].as_u64().unwrap()).unwrap()
    }

    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < PATIENCE, "{what}: {}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn wait_for(&self, event: &str, times: usize) {
        self.wait(event, || self.count(event) >= times);
    }
}

const RUN: [&str; 5] = ["run", "--platform", "simulated", "--config", "keymap.rhai"];

/// A process that does not outlive the test.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal("TERM"); // so that a supervisor takes its child along
            for _ in 0..400 {
                if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Kills it, and takes away what it could not.
fn kill_supervisor(supervisor: &mut Running) {
    supervisor.0.kill().unwrap();
    supervisor.ends();
    fs::remove_dir_all(Path::new("/tmp").join(format!("keyrx-supervise-{}.0", supervisor.0.id()))).unwrap();
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(done.success());
}

fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

// --- supervise --------------------------------------------------------------------------------------------------

#[test]
fn a_killed_keyrx_is_back() {
    let home = Home::new("killed");
    let _supervisor = home.supervise_run();
    home.wait_for("ready", 1);
    for death in 1..=3 {
        let before = home.pid();
        signal(before, "KILL");
        let begin = Instant::now();
        home.wait_for("ready", death + 1);
        println!("death {death}: ready again after {:.3} s", begin.elapsed().as_secs_f64());
        assert!(home.pid() != before && !is_alive(before));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(home.said().matches("was ended by signal 9").count(), 3, "{}", home.said());
    assert_eq!(home.count("crashed_before"), 3);
}

#[test]
fn who_ends_because_of_its_input_is_not_started_again() {
    for code in [0, 1, 2, 3] {
        let home = Home::new("code");
        let mut supervisor = home.supervise_script(&format!("echo >>starts; exit {code}"));
        assert_eq!(supervisor.ends().code(), Some(code));
        assert_eq!(home.lines("starts").len(), 1, "code {code}");
    }
    let home = Home::new("settings");
    fs::write(home.0.join("keyrx.toml"), "nonsense = 1\n").unwrap();
    let run = [&["supervise", "--", KEYRX][..], &RUN, &["--config-dir", "."]].concat();
    assert_eq!(home.start(&run, &[]).ends().code(), Some(1));
    assert!(home.said().contains("there is no setting `nonsense`"), "{}", home.said());
    let home = Home::new("missing");
    assert_eq!(home.start(&["supervise", "--", "/no/such/program"], &[]).ends().code(), Some(2));
    assert!(home.said().contains("\"/no/such/program\" cannot be started"), "{}", home.said());
}

#[test]
fn a_signal_to_stop_stops_both() {
    for name in ["TERM", "INT"] {
        let home = Home::new(&format!("stop-{name}"));
        let mut supervisor = home.supervise_run();
        home.wait_for("ready", 1);
        let child = home.pid();
        let begin = Instant::now();
        supervisor.signal(name);
        assert_eq!(supervisor.ends().code(), Some(0), "{}", home.said());
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(!is_alive(child));
        assert_eq!(home.count("stopped"), 1, "the child ended in order");
    }
}

#[test]
fn who_does_not_want_to_stop_is_killed_by_a_second_signal() {
    let home = Home::new("stubborn");
    let script = "trap '' TERM; echo $$ >>starts; while :; do sleep 0.1; done";
    let mut supervisor = home.supervise_script(script);
    home.wait("a start", || !home.lines("starts").is_empty());
    let child = home.lines("starts")[0].parse().unwrap();
    supervisor.signal("TERM");
    thread::sleep(Duration::from_millis(300));
    assert!(is_alive(child));
    supervisor.signal("TERM");
    assert_eq!(supervisor.ends().code(), Some(130));
    assert!(!is_alive(child));
}

#[test]
fn a_signal_to_read_again_is_passed_on() {
    let home = Home::new("reload");
    let supervisor = home.supervise_run();
    home.wait_for("ready", 1);
    supervisor.signal("HUP");
    home.wait_for("keymap_loaded", 2);
}

#[test]
fn in_a_terminal_both_end_with_it_and_by_one_ctrl_c() {
    for is_closed in [true, false] {
        let home = Home::new(&format!("terminal-{is_closed}"));
        let supervise = format!("exec {KEYRX} supervise -- {KEYRX} {}", RUN.join(" "));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &supervise, "/dev/null"]).current_dir(&home.0);
        command.env_clear().env("HOME", &home.0).env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut terminal = Running(command.spawn().unwrap());
        home.wait_for("ready", 1);
        let child = home.pid();
        if is_closed {
            terminal.0.kill().unwrap();
            terminal.ends();
        } else {
            terminal.0.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
            assert_eq!(terminal.ends().code(), Some(0));
        }
        home.wait("its end", || !is_alive(child));
        assert_eq!((home.count("stopped"), home.count("ready")), (1, 1), "it ended in order");
    }
}

#[test]
fn a_keyrx_that_hangs_is_found_killed_and_back() {
    let home = Home::new("hung");
    let _supervisor = home.supervise_run();
    home.wait_for("health_changed", 1); // from here on it gives signs of life
    let before = home.pid();
    signal(before, "STOP");
    let begin = Instant::now();
    home.wait_for("ready", 2);
    println!("ready again {:.3} s after it hung", begin.elapsed().as_secs_f64());
    assert!(home.pid() != before && !is_alive(before));
    let said = home.said();
    assert!(said.contains("no sign of life for ") && said.contains("after it hung"), "{said}");
}

#[test]
fn a_command_that_dies_at_its_start_gets_to_safe_mode_and_to_a_rest_whatever_becomes_of_the_supervisor() {
    let home = Home::new("loop");
    let script = "echo $(date +%s%3N) $KEYRX_MODE >>starts; kill -9 $$";
    let starts = || {
        let parse = |line: &String| {
            let (time, mode) = line.split_once(' ').unwrap();
            (time.parse::<u64>().unwrap(), mode.to_owned())
        };
        home.lines("starts").iter().map(parse).collect::<Vec<_>>()
    };
    let mut supervisor = home.supervise_script(script);
    home.wait("six deaths", || home.said().contains("Death 6 in a row"));
    kill_supervisor(&mut supervisor);
    assert_eq!(starts().len(), 6, "{}", home.said());
    let _supervisor = home.supervise_script(script);
    home.wait("a wait", || home.said().contains("it has died often enough"));
    home.wait("eight deaths", || home.said().contains("to rest for ten minutes"));
    let starts = starts();
    let modes = starts.iter().map(|(_, mode)| mode.as_str()).collect::<Vec<_>>();
    assert_eq!(modes, [&["normal"; 5][..], &["safe"; 3]].concat());
    let waits = starts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect::<Vec<_>>();
    println!("between starts: {waits:?} ms");
    // From below as it is; from above as far as a busy machine lets it be seen.
    for (wait, delay) in waits.iter().zip([0, 250, 500, 1000, 2000, 4000, 8000]) {
        assert!((delay * 4 / 5..=delay * 6 / 5 + 1000).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_keyrx_whose_supervisor_is_killed_goes_on_and_says_so() {
    let home = Home::new("orphan");
    let mut supervisor = home.supervise_run();
    home.wait_for("health_changed", 1);
    let child = home.pid();
    kill_supervisor(&mut supervisor);
    home.wait_for("supervisor_unreachable", 1);
    assert!(is_alive(child));
    let mut second = home.supervise_run();
    assert_eq!(second.ends().code(), Some(3), "{}", home.said());
    assert!(home.said().contains(&format!("running already (process {child},")), "{}", home.said());
    signal(child, "TERM");
    home.wait_for("stopped", 1);
}

// --- run --------------------------------------------------------------------------------------------------------

/// Has keyrx crash so many times.
fn crash(home: &Home, times: usize) {
    for _ in 0..times {
        let before = home.count("started");
        let mut run = home.run();
        home.wait_for("started", before + 1);
        home.wait("the record", || !home.lines(".local/state/keyrx/run.lifecycle").is_empty());
        home.wait_for("ready", before + 1);
        run.0.kill().unwrap();
        run.ends();
    }
}

#[test]
fn after_five_crashes_no_keymap_is_read_until_it_changes() {
    let home = Home::new("safe");
    crash(&home, 5);
    assert_eq!((home.count("keymap_loaded"), home.count("safe_mode")), (5, 0));
    let mut run = home.run();
    home.wait_for("safe_mode", 1);
    home.wait("health", || {
        home.said().contains("safe mode; ") || home.said().contains("died again and again")
    });
    home.wait_for("health_changed", 1);
    assert_eq!(home.count("keymap_loaded"), 5);
    fs::write(home.0.join("keymap.rhai"), format!("{KEYMAP}\n// mended")).unwrap();
    home.wait_for("keymap_in_force", 1);
    run.0.kill().unwrap();
    run.ends();
    let run = home.run();
    home.wait_for("started", 7);
    home.wait_for("ready", 7);
    assert_eq!(home.count("safe_mode"), 1, "it is forgiven");
    drop(run);
}

#[test]
fn in_safe_mode_a_file_that_the_keymap_loads_may_be_what_is_mended() {
    let home = Home::new("safe-part");
    fs::write(home.0.join("keymap.rhai"), r#"load("part.rhai");"#).unwrap();
    fs::write(home.0.join("part.rhai"), KEYMAP).unwrap();
    let mut run = home.run();
    home.wait_for("ready", 1);
    signal(home.pid(), "TERM");
    assert_eq!(run.ends().code(), Some(0));
    crash(&home, 5);
    let run = home.run();
    home.wait_for("health_changed", 1);
    home.wait_for("safe_mode", 1);
    let loaded = home.count("keymap_loaded");
    fs::write(home.0.join("part.rhai"), format!("{KEYMAP}\n// mended")).unwrap();
    home.wait_for("keymap_in_force", 1);
    assert_eq!(home.count("keymap_loaded"), loaded + 1);
    drop(run);
}

#[test]
fn after_three_more_it_rests_alive_and_takes_no_keyboard() {
    let home = Home::new("rest");
    crash(&home, 8);
    assert_eq!((home.count("safe_mode"), home.count("resting")), (3, 0));
    // It would not get far without a right to keyboards, if it wanted any.
    let mut run = home.start(&["run", "--config", "keymap.rhai"], &[]);
    home.wait_for("resting", 1);
    home.wait_for("ready", 9);
    home.wait("health", || home.said().contains("it rests and takes no keyboard"));
    let devices = format!("/proc/{}/fd", run.0.id());
    let links = fs::read_dir(devices).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    assert!(
        !links.into_iter().any(|link| link == Path::new("/dev/uinput") || link.starts_with("/dev/input"))
    );
    run.signal("TERM");
    assert_eq!(run.ends().code(), Some(0));
    let _run = home.run();
    home.wait_for("ready", 10);
    assert_eq!(home.count("resting"), 1, "who ends in order begins anew");
}

#[test]
fn a_damaged_record_is_set_aside_and_a_torn_one_read_as_far_as_it_is_whole() {
    let home = Home::new("damaged");
    crash(&home, 5);
    let record = home.0.join(".local/state/keyrx/run.lifecycle");
    let whole = fs::read(&record).unwrap();
    fs::write(&record, &whole[..whole.len() - 10]).unwrap();
    crash(&home, 1);
    assert_eq!(home.count("safe_mode"), 0, "four are known");
    fs::write(&record, "nonsense").unwrap();
    crash(&home, 1);
    assert_eq!(home.count("state_damaged"), 1);
    assert!(home.0.join(".local/state/keyrx/run.lifecycle.damaged.1").exists());
}

// --- systemd ----------------------------------------------------------------------------------------------------

#[test]
fn systemd_is_told_of_start_progress_reload_and_stop() {
    let home = Home::new("systemd");
    // The path of a socket is short.
    let path = std::env::temp_dir().join(format!("keyrx-test-{}.notify", std::process::id()));
    let _ = fs::remove_file(&path);
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 1000];
        let length = systemd.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let hear_until = |wanted: &str| {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| !last.starts_with(wanted)) {
            heard.push(hear());
        }
        heard
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")];
    let mut run = home.start(&RUN, &variables);
    assert_eq!(hear(), "READY=1");
    let heard = hear_until("STATUS=");
    assert!(heard.last().unwrap().contains("degraded: there is no keyboard to read"), "{heard:?}");
    let begin = Instant::now();
    for _ in 0..3 {
        assert_eq!(hear_until("WATCHDOG=1").len(), 1);
    }
    assert!(begin.elapsed() < Duration::from_secs(3), "twice a second is wanted");
    run.signal("HUP");
    let heard = hear_until("RELOADING=1\nMONOTONIC_USEC=");
    assert!(heard.last().unwrap().trim_start_matches(|c: char| !c.is_ascii_digit()).len() > 2);
    hear_until("READY=1");
    run.signal("TERM");
    hear_until("STOPPING=1");
    assert_eq!(run.ends().code(), Some(0));
    fs::remove_file(path).unwrap();
}
