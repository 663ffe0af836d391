//! Real Prometheus against a real keyrx: its linter accepts the metrics, and its server scrapes them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Profile};
use crate::setup::{self, Packages};
use crate::test::Outcome;

const PACKAGES: &[&str] = &["prometheus"];

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run() -> Result<Outcome> {
    if let Packages::Missing(command) = setup::debian(PACKAGES)? {
        return Ok(Outcome::Unprepared(format!("please run: {command}")));
    }
    let keyrx = cargo::build("keyrx", Profile::Dev)?;
    let home = Home::new()?;
    let keymap = home.path("keymap.rhai");
    fs::write(&keymap, "map(\"A\", \"B\");\n")?;
    let state = home.path("state");
    let mut run = Command::new(&keyrx);
    run.args(["run", "--platform", "simulated", "--port", "0", "--config"]).arg(&keymap);
    let _running = Running(run.arg("--state-dir").arg(&state).stderr(Stdio::null()).spawn()?);

    let metrics = until("keyrx to answer", || ask(&keyrx, &state, "metrics"))?;
    let mut promtool = Command::new("promtool");
    let mut check = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).spawn()?;
    check.stdin.take().context("promtool has an input")?.write_all(metrics.as_bytes())?;
    ensure!(check.wait()?.success(), "promtool does not accept the metrics:\n{metrics}");
    println!("promtool check metrics: {} lines accepted", metrics.lines().count());

    let status = ask(&keyrx, &state, "status")?;
    let port = status.split("\"port\": ").nth(1).and_then(|rest| rest.split(',').next());
    let target = format!("127.0.0.1:{}", port.context("the status says no port")?);
    let config = home.path("prometheus.yml");
    let job = format!("  - job_name: keyrx\n    static_configs:\n      - targets: [\"{target}\"]\n");
    fs::write(&config, format!("global:\n  scrape_interval: 1s\nscrape_configs:\n{job}"))?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", home.path("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()?,
    );
    let query = |what: &str| {
        let mut promtool = Command::new("promtool");
        let output =
            promtool.args(["query", "instant"]).arg(format!("http://{address}")).arg(what).output()?;
        let said = String::from_utf8(output.stdout)?;
        match output.status.success() && said.contains("=>") {
            true => Ok(said.trim().to_owned()),
            false => bail!("no {what} yet"),
        }
    };
    for what in [
        "up{job=\"keyrx\"} == 1",
        "keyrx_health{status=\"healthy\"} == 1",
        "keyrx_event_latency_seconds_count",
    ] {
        println!("prometheus: {}", until(what, || query(what))?);
    }
    Ok(Outcome::Passed)
}

fn ask(keyrx: &Path, state: &Path, what: &str) -> Result<String> {
    let mut command = Command::new(keyrx);
    command.arg(what).arg("--state-dir").arg(state);
    if what == "status" {
        command.arg("--json");
    }
    let output = command.stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "keyrx {what} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Tries until it is there.
fn until<T>(what: &str, mut get: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match get() {
            Ok(it) => return Ok(it),
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(error.context(format!("waited for {what}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory, gone when dropped.
struct Home(PathBuf);

impl Home {
    fn new() -> Result<Home> {
        let home = Home(std::env::temp_dir().join(format!("keyrx-monitoring-{}", std::process::id())));
        fs::create_dir_all(&home.0)?;
        Ok(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
