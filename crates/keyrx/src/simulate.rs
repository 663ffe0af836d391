//! `keyrx simulate`: key events in, what comes out and why; and the way every scenario is played.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{DeviceInfo, Effect, Keymap, Motion, Time};
use keyrx_platform::simulated::Simulated;

use crate::cli::Exit;
use crate::session::Session;
use crate::{explain, scenario};

#[derive(clap::Args)]
pub struct Simulate {
    /// The keymap.
    keymap: PathBuf,
    /// The name of the keyboard that the events come from.
    #[arg(long, value_name = "NAME", default_value = "keyboard")]
    device: String,
    #[command(flatten)]
    events: Events,
    /// As data, with the cause of every effect.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Events {
    /// The events, such as "+A 50 -A".
    #[arg(long, allow_hyphen_values = true)]
    events: Option<String>,
    /// A file with the events; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    events_file: Option<PathBuf>,
}

impl Events {
    /// The events; what is wrong with them is said in words, with its place.
    fn read(&self) -> Result<Vec<Moment>, String> {
        let (name, text) = match &self.events_file {
            Some(file) => {
                let name = file.display().to_string();
                let text =
                    std::fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
                (name, text)
            }
            None => ("--events".into(), self.events.clone().unwrap_or_default()),
        };
        read_events(&text).map_err(|error| format!("{name}:{error}"))
    }
}

impl Simulate {
    pub fn run(self) -> Result<Exit> {
        let mut out = std::io::stdout().lock();
        let mut loaded = keyrx_config::load(&self.keymap);
        for diagnostic in &loaded.diagnostics {
            eprintln!("{diagnostic}");
        }
        let Some(keymap) = loaded.keymap.take() else {
            if self.json {
                writeln!(out, "{:#}", serde_json::json!({ "diagnostics": loaded.diagnostics }))?;
            }
            return Ok(Exit::BadInput);
        };
        let events = match self.events.read() {
            Ok(events) => events,
            Err(error) => {
                eprintln!("keyrx: {error}");
                if self.json {
                    writeln!(out, "{:#}", serde_json::json!({ "error": error }))?;
                }
                return Ok(Exit::BadInput);
            }
        };
        let device = DeviceInfo::named(&self.device);
        let input = events.into_iter().map(|moment| (device.clone(), moment)).collect::<Vec<_>>();
        let effects = play(keymap, &input)?;
        if self.json {
            let events = as_json(&effects, &self.device, |effect| explain::cause(effect, &loaded));
            writeln!(out, "{:#}", serde_json::json!({ "events": events }))?;
        } else {
            writeln!(out, "{}", notation::print(effects.iter().copied().map(Moment::from)))?;
        }
        Ok(Exit::Ok)
    }
}

/// Effects as data.
pub fn as_json(
    effects: &[Effect],
    device: &str,
    cause: impl Fn(&Effect) -> String,
) -> Vec<serde_json::Value> {
    let as_json = |effect: &Effect| {
        serde_json::json!({
            "time_us": effect.time.micros(),
            "device": device,
            "effect": word(effect.motion),
            "key": effect.key.to_string(),
            "cause": cause(effect),
        })
    };
    effects.iter().map(as_json).collect()
}

/// Plays events of keyboards to a keymap, until no deadline is left.
pub fn play(keymap: Keymap, input: &[(DeviceInfo, Moment)]) -> Result<Vec<Effect>> {
    let mut session = Session::new(keymap);
    let mut simulated = Simulated::new(&mut session);
    let mut devices = Vec::new();
    for (info, moment) in input {
        let known = devices.iter().find(|(known, _)| *known == info).map(|(_, id)| *id);
        let device = known.unwrap_or_else(|| {
            let id = simulated.connect(info.clone());
            devices.push((info, id));
            id
        });
        simulated.advance(moment.time);
        simulated.key(device, moment.key, moment.motion);
    }
    Ok(simulated.finish()?)
}

/// Events in the notation, over several lines, with comments. An error begins with its line and column.
fn read_events(text: &str) -> Result<Vec<Moment>, String> {
    let (mut events, mut time) = (Vec::new(), Time::ZERO);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let (moments, end) = notation::parse(scenario::without_comment(line), time).map_err(|error| {
            let column = line.get(..error.offset).unwrap_or("").chars().count().saturating_add(1);
            format!("{number}:{column}: {}", scenario::explain(&error))
        })?;
        events.extend(moments);
        time = end;
    }
    Ok(events)
}

fn word(motion: Motion) -> &'static str {
    match motion {
        Motion::Press => "press",
        Motion::Release => "release",
        Motion::Repeat => "repeat",
    }
}
