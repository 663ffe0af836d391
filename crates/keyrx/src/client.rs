//! The commands that ask a running keyrx: `status`, `health`, `metrics`, `pause`, `resume`, `reload`, `stop`,
//! `profile` and `ui`.
//!
//! The running one is found by the lock that it holds, never by what a file alone says: the token goes to nobody else.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use keyrx_platform::{Finding, State};
use serde_json::{Value, json};
use ureq::http::{Method, Request};
use ureq::{Agent, Body};

use crate::cli::Exit;
use crate::instance::Instance;
use crate::paths::{Directories, Paths};
use crate::profiles::Profiles;
use crate::state::Store;
use crate::web;

/// How long an answer may take; the server itself gives up before.
const UNTIL_ANSWERED: Duration = Duration::from_secs(12);

/// How long the end of a keyrx may take, and how often it is looked whether it has come.
const UNTIL_STOPPED: Duration = Duration::from_secs(7);
const LOOK: Duration = Duration::from_millis(20);

/// What may be asked of a running keyrx, and how the answer looks.
#[derive(clap::Args)]
pub struct Ask {
    #[command(flatten)]
    directories: Directories,
    /// As data.
    #[arg(long)]
    json: bool,
}

/// What to do with profiles.
#[derive(clap::Args)]
pub struct Profile {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    ask: Ask,
}

#[derive(clap::Subcommand)]
enum What {
    /// Lists them.
    List,
    /// Prints what one says.
    Show {
        /// Its name.
        name: String,
    },
    /// Makes one the active one; if its keymap has mistakes they are told, and nothing changes.
    Activate {
        /// Its name.
        name: String,
    },
    /// Makes a new one.
    Create {
        /// Its name: letters, digits, `_` and `-`.
        name: String,
        /// A keymap that it is to be a copy of; by default it is blank.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Removes one that is not active.
    Delete {
        /// Its name.
        name: String,
    },
}

/// How `keyrx ui` is to open the page.
#[derive(clap::Args)]
pub struct Ui {
    /// Only print the address. It is good once, and for a minute.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    directories: Directories,
}

/// Why a running keyrx could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("keyrx is not running (by {})", .0.display())]
    NotRunning(PathBuf),
    #[error("keyrx is running, but has no port: all that it may use are taken, or it is starting or ending")]
    NoPort,
    #[error("you may not read {}: the keyrx there is another user's", .0.display())]
    NotYours(PathBuf),
    #[error("keyrx does not answer at port {0}")]
    NoAnswer(u16, #[source] Box<ureq::Error>),
    #[error("{message}")]
    Refused { status: u16, message: String, diagnostics: Vec<String> },
}

impl AskError {
    /// How a command ends by it.
    pub fn exit(&self) -> Exit {
        match self {
            AskError::NotRunning(_) | AskError::NoPort | AskError::NoAnswer(..) => Exit::NotRunning,
            AskError::NotYours(_) => Exit::NotPermitted,
            AskError::Refused { status: 401 | 403, .. } => Exit::NotPermitted,
            AskError::Refused { status: 400..=499, .. } => Exit::BadInput,
            AskError::Refused { .. } => Exit::Internal,
        }
    }
}

/// A way to the running keyrx.
struct Client {
    agent: Agent,
    port: u16,
    token: String,
}

impl Client {
    fn find(paths: &Paths) -> Result<Client, AskError> {
        let directory = || paths.state_dir().to_owned();
        let running = Instance::find(paths.state_dir()).map_err(|_| AskError::NotYours(directory()))?;
        let running = running.ok_or_else(|| AskError::NotRunning(directory()))?;
        let port = running.port.ok_or(AskError::NoPort)?;
        let token = web::read_token(&paths.token()).ok_or_else(|| AskError::NotYours(paths.token()))?;
        // Without the proxy of the environment: this is about this machine.
        let config = Agent::config_builder().timeout_global(Some(UNTIL_ANSWERED)).proxy(None);
        Ok(Client { agent: config.http_status_as_error(false).build().new_agent(), port, token })
    }

    /// The answer, whatever its status.
    fn ask_for(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, String), AskError> {
        let no_answer = |error: ureq::Error| AskError::NoAnswer(self.port, Box::new(error));
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.map(Value::to_string).unwrap_or_default())
            .map_err(|error| no_answer(error.into()))?;
        let mut answer: ureq::http::Response<Body> = self.agent.run(request).map_err(no_answer)?;
        let text = answer.body_mut().read_to_string().map_err(no_answer)?;
        Ok((answer.status().as_u16(), text))
    }

    /// The answer, if it was done.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, AskError> {
        let (status, text) = self.ask_for(method, path, body)?;
        let answer = serde_json::from_str::<Value>(&text).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or(&text).to_owned();
        let diagnostics = answer.get("diagnostics").and_then(Value::as_array).into_iter().flatten();
        Err(AskError::Refused { status, message, diagnostics: diagnostics.map(as_line).collect() })
    }
}

/// A diagnostic in a line.
fn as_line(diagnostic: &Value) -> String {
    let text = |name| diagnostic.get(name).map(|it| it.as_str().map_or(it.to_string(), str::to_owned));
    let [severity, file, line, column, message] =
        ["severity", "file", "line", "column", "message"].map(|name| text(name).unwrap_or_default());
    format!("{severity}: {file}:{line}:{column}: {message}")
}

/// Says what was refused, with what is wrong in the keymap.
pub fn tell(error: &AskError) {
    eprintln!("keyrx: {error}");
    if let AskError::Refused { diagnostics, .. } = error {
        diagnostics.iter().for_each(|line| eprintln!("  {line}"));
    }
}

/// What there is to say of the running keyrx, if there is one.
pub fn finding(paths: &Paths) -> Finding {
    let about = "daemon";
    let health = Client::find(paths).and_then(|client| client.ask_for(Method::GET, "/health", None));
    match health {
        Ok((_, text)) => {
            let health = serde_json::from_str::<Value>(&text).unwrap_or_default();
            let is = format!("keyrx is running, and is {}", word(&health, "status"));
            let reasons = checks(&health).iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
            match reasons.is_empty() {
                true => Finding::new(about, State::Good, is, "keys are mapped"),
                false => Finding::new(about, State::Notice, is, reasons.join("\n")),
            }
        }
        Err(AskError::NotRunning(_)) => {
            let means = "nothing is mapped now. `keyrx run` starts it";
            Finding::new(about, State::Good, "keyrx is not running", means)
        }
        Err(error) => {
            let means = "`keyrx status` asks again; the log in the state directory says more";
            Finding::new(about, State::Notice, error.to_string(), means)
        }
    }
}

impl Ask {
    fn paths(&self) -> Paths {
        Paths::of(&self.directories)
    }

    fn client(&self) -> Result<Client, AskError> {
        Client::find(&self.paths())
    }

    /// Prints an answer: as it is, or in words.
    fn print(&self, answer: &Value, words: impl FnOnce(&Value) -> String) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match self.json {
            true => writeln!(out, "{answer:#}")?,
            false => writeln!(out, "{}", words(answer))?,
        }
        Ok(())
    }

    /// `keyrx status`
    pub fn status(&self) -> Result<Exit> {
        let status = self.client()?.ask(Method::GET, "/api/status", None)?;
        self.print(&status, |status| Status(status).to_string())?;
        Ok(Exit::Ok)
    }

    /// `keyrx health`
    pub fn health(&self) -> Result<Exit> {
        let (code, text) = self.client()?.ask_for(Method::GET, "/health", None)?;
        let health = serde_json::from_str::<Value>(&text).context("the answer is none about health")?;
        self.print(&health, |health| {
            let mut lines = vec![word(health, "status")];
            lines.extend(checks(health));
            lines.join("\n")
        })?;
        Ok(if code == 200 { Exit::Ok } else { Exit::BadInput })
    }

    /// `keyrx metrics`
    pub fn metrics(&self) -> Result<Exit> {
        let client = self.client()?;
        match self.json {
            true => self.print(&client.ask(Method::GET, "/api/metrics", None)?, Value::to_string)?,
            false => {
                write!(std::io::stdout().lock(), "{}", client.ask_for(Method::GET, "/metrics", None)?.1)?
            }
        }
        Ok(Exit::Ok)
    }

    /// `keyrx pause` and `keyrx resume`
    pub fn set_paused(&self, is_wanted: bool) -> Result<Exit> {
        let path = if is_wanted { "/api/pause" } else { "/api/resume" };
        let answer = self.client()?.ask(Method::POST, path, None)?;
        self.print(&answer, |_| if is_wanted { "paused: keys pass" } else { "mapping goes on" }.to_owned())?;
        Ok(Exit::Ok)
    }

    /// `keyrx reload`
    pub fn reload(&self) -> Result<Exit> {
        let answer = self.client()?.ask(Method::POST, "/api/reload", None)?;
        self.print(&answer, in_force)?;
        Ok(Exit::Ok)
    }

    /// `keyrx stop`: returns when it has ended.
    pub fn stop(&self) -> Result<Exit> {
        let answer = self.client()?.ask(Method::POST, "/api/stop", None)?;
        let begin = Instant::now();
        while Instance::find(self.paths().state_dir())?.is_some() {
            if begin.elapsed() > UNTIL_STOPPED {
                eprintln!("keyrx: it was told to end, and has not ended after {} s", UNTIL_STOPPED.as_secs());
                return Ok(Exit::TookTooLong);
            }
            thread::sleep(LOOK);
        }
        self.print(&answer, |_| "stopped".into())?;
        Ok(Exit::Ok)
    }
}

impl Profile {
    /// `keyrx profile`: what concerns files alone is done whether or not keyrx runs.
    pub fn run(&self) -> Result<Exit> {
        let ask = &self.ask;
        let paths = ask.paths();
        let profiles = Profiles::new(paths.configs());
        let client = match ask.client() {
            Ok(client) => Some(client),
            Err(AskError::NotRunning(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let active = || match &client {
            Some(client) => {
                let status = client.ask(Method::GET, "/api/profiles/active", None)?;
                Ok(status.get("active_profile").and_then(Value::as_str).map(str::to_owned))
            }
            None => Ok(Store::new(paths.state()).load().active_profile),
        };
        let done = json!({ "success": true });
        match &self.what {
            What::List => {
                let active: Option<String> = active().map_err(|error: AskError| error)?;
                let list = profiles.list();
                let as_json = |profile: &crate::profiles::Profile| {
                    let is_active = active.as_deref() == Some(profile.name.as_str());
                    json!({ "name": profile.name, "path": profile.path, "active": is_active, "own": profile.is_own })
                };
                let list = json!({ "profiles": list.iter().map(as_json).collect::<Vec<_>>() });
                ask.print(&list, |list| {
                    let all = list.get("profiles").and_then(Value::as_array).into_iter().flatten();
                    let line = |it: &Value| {
                        let mark = if it.get("active") == Some(&Value::Bool(true)) { '*' } else { ' ' };
                        format!("{mark} {}  ({})", word(it, "name"), word(it, "path"))
                    };
                    let lines = all.map(line).collect::<Vec<_>>();
                    if lines.is_empty() { "there is no profile".into() } else { lines.join("\n") }
                })?;
            }
            What::Show { name } => {
                let source = profiles.read(name)?;
                match ask.json {
                    true => ask.print(&json!({ "name": name, "source": source }), Value::to_string)?,
                    false => write!(std::io::stdout().lock(), "{source}")?,
                }
            }
            What::Activate { name } => match &client {
                Some(client) => {
                    profiles.find(name)?;
                    let answer = client.ask(Method::POST, &format!("/api/profiles/{name}/activate"), None)?;
                    ask.print(&answer, in_force)?;
                }
                None => {
                    profiles.find(name)?;
                    crate::paths::create(paths.state_dir())?;
                    let _instance = Instance::acquire(paths.state_dir())?;
                    let store = Store::new(paths.state());
                    let mut state = store.load();
                    state.active_profile = Some(name.clone());
                    store.save(&state).context("the choice cannot be kept")?;
                    ask.print(&done, |_| format!("keyrx will begin with {name}; it is not running"))?;
                }
            },
            What::Create { name, from } => {
                let source = from.as_ref().map(|file| {
                    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
                });
                let profile = profiles.create(name, source.transpose()?.as_deref())?;
                let made = json!({ "name": profile.name, "path": profile.path });
                ask.print(&made, |made| format!("made {}", word(made, "path")))?;
            }
            What::Delete { name } => {
                if active().map_err(|error: AskError| error)?.as_deref() == Some(name) {
                    return Err(crate::profiles::ProfileError::Active(name.clone()).into());
                }
                profiles.delete(name)?;
                ask.print(&done, |_| format!("removed {name}"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl Ui {
    /// `keyrx ui`
    pub fn run(&self) -> Result<Exit> {
        let client = Client::find(&Paths::of(&self.directories))?;
        let code = client.ask(Method::POST, "/api/session/code", None)?;
        let url = web::page(client.port, &word(&code, "code"));
        if self.print {
            writeln!(std::io::stdout().lock(), "{url}")?;
            return Ok(Exit::Ok);
        }
        open::that_detached(&url)
            .context("no browser can be opened; `keyrx ui --print` prints the address")?;
        Ok(Exit::Ok)
    }
}

fn in_force(answer: &Value) -> String {
    let warnings = answer.get("diagnostics").and_then(Value::as_array).into_iter().flatten().map(as_line);
    let mut lines = warnings.collect::<Vec<_>>();
    lines.push(format!("in force: {}", word(answer, "path")));
    lines.join("\n")
}

/// A value as it is read.
fn word(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn checks(report: &Value) -> Vec<String> {
    let checks = report.get("checks").and_then(Value::as_array).into_iter().flatten();
    checks.map(|check| format!("  {}: {}", word(check, "name"), word(check, "reason"))).collect()
}

/// A status for people.
struct Status<'a>(&'a Value);

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status(status) = *self;
        let paused = if status.get("paused") == Some(&Value::Bool(true)) { ", paused" } else { "" };
        let phase = match (word(status, "phase"), word(status, "stop_reason")) {
            (phase, _) if phase == "running" => String::new(),
            (phase, why) if why.is_empty() => format!(", {phase}"),
            (phase, why) => format!(", {phase} ({why})"),
        };
        writeln!(f, "keyrx {} is {}{paused}{phase}", word(status, "version"), word(status, "status"))?;
        for check in checks(status) {
            writeln!(f, "{check}")?;
        }
        let keymap = status.get("keymap").cloned().unwrap_or_default();
        let profile = word(&keymap, "profile");
        let profile = if profile.is_empty() { profile } else { format!("profile {profile}, ") };
        writeln!(f, "keymap     {profile}{}", word(&keymap, "path"))?;
        for diagnostic in keymap.get("diagnostics").and_then(Value::as_array).into_iter().flatten() {
            writeln!(f, "           {}", as_line(diagnostic))?;
        }
        writeln!(f, "keyboards  {}", word(status, "device_count"))?;
        writeln!(f, "running    process {}, for {} s", word(status, "pid"), word(status, "uptime_secs"))?;
        write!(f, "web page   http://127.0.0.1:{}/ (keyrx ui)", word(status, "port"))
    }
}
