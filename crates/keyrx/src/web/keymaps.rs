//! What is answered about profiles and keymaps: they are made, read, checked, played and activated.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path as InPath, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use keyrx_config::{Diagnostic, Loaded, Severity};
use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{DeviceInfo, Key};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::api::{Answer, Failure, MOST_EVENTS, Shared, body, done, read_moments};
use crate::daemon::Order;
use crate::explain;
use crate::profiles::{Profile, ProfileError};
use crate::simulate::{self, play};
use crate::timestamp::Timestamp;

fn profile_as_json(profile: &Profile, active: Option<&str>) -> Value {
    json!({
        "name": profile.name,
        "rhaiPath": profile.path,
        "modifiedAt": profile.modified.map(|at| Timestamp::from(at).seconds()),
        "isActive": active == Some(profile.name.as_str()),
        "isOwn": profile.is_own,
    })
}

/// `GET /api/profiles`
pub async fn profiles(State(server): Shared) -> Answer {
    let all = server.profile_work(|server| Ok(server.daemon.profiles.list())).await?;
    let view = server.daemon.view();
    let all = all.iter().map(|profile| profile_as_json(profile, view.source.profile()));
    Ok(Json(json!({ "profiles": all.collect::<Vec<_>>() })).into_response())
}

/// `GET /api/profiles/active`
pub async fn active_profile(State(server): Shared) -> Json<Value> {
    Json(json!({ "active_profile": server.daemon.view().source.profile() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProfile {
    name: String,
    source: Option<String>,
    /// What keyrx 1.x calls it; there is one template, the blank one.
    template: Option<String>,
}

/// `POST /api/profiles`
pub async fn create_profile(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let NewProfile { name, source, template } = body(bytes)?;
    if template.is_some_and(|template| template != "blank") {
        return Err(Failure::bad("there is one template, `blank`; or send a `source`"));
    }
    let create = move |server: &Server| server.daemon.profiles.create(&name, source.as_deref());
    let profile = server.profile_work(create).await?;
    Ok((StatusCode::CREATED, Json(profile_as_json(&profile, None))).into_response())
}

/// `DELETE /api/profiles/{name}`
pub async fn delete_profile(State(server): Shared, InPath(name): InPath<String>) -> Answer {
    let delete = move |server: &Server| {
        if server.daemon.view().source.profile() == Some(name.as_str()) {
            return Err(ProfileError::Active(name));
        }
        server.daemon.profiles.delete(&name)
    };
    server.profile_work(delete).await?;
    Ok(done())
}

/// `POST /api/profiles/{name}/activate`
pub async fn activate_profile(State(server): Shared, InPath(name): InPath<String>) -> Answer {
    let find = name.clone();
    server.profile_work(move |server| server.daemon.profiles.find(&find)).await?;
    server.keymap_answer(Order::Activate(name)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case, reason = "as keyrx 1.x has it")]
struct NewName {
    newName: String,
}

/// `POST /api/profiles/{name}/duplicate`
pub async fn duplicate_profile(
    State(server): Shared,
    InPath(name): InPath<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let NewName { newName: new } = body(bytes)?;
    let duplicate = move |server: &Server| {
        let source = server.daemon.profiles.read(&name)?;
        server.daemon.profiles.create(&new, Some(&source))
    };
    let profile = server.profile_work(duplicate).await?;
    Ok((StatusCode::CREATED, Json(profile_as_json(&profile, None))).into_response())
}

/// `PUT /api/profiles/{name}/rename`
pub async fn rename_profile(
    State(server): Shared,
    InPath(name): InPath<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let NewName { newName: new } = body(bytes)?;
    let was_active = server.daemon.view().source.profile() == Some(name.as_str());
    let profile = server.profile_work(move |server| server.daemon.profiles.rename(&name, &new)).await?;
    if was_active {
        return server.keymap_answer(Order::Activate(profile.name)).await;
    }
    Ok(Json(profile_as_json(&profile, None)).into_response())
}

/// `GET /api/profiles/{name}/config`
pub async fn profile_config(State(server): Shared, InPath(name): InPath<String>) -> Answer {
    let read = name.clone();
    let source = server.profile_work(move |server| server.daemon.profiles.read(&read)).await?;
    Ok(Json(json!({ "name": name, "source": source })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(alias = "source")]
    config: String,
}

/// `PUT /api/profiles/{name}/config`
pub async fn set_profile_config(
    State(server): Shared,
    InPath(name): InPath<String>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let Config { config } = body(bytes)?;
    let write = move |server: &Server| {
        server.daemon.profiles.write(&name, &config)?;
        Ok(keyrx_config::load(&server.daemon.profiles.find(&name)?.path).diagnostics)
    };
    let diagnostics = server.profile_work(write).await?;
    let mut verdict = verdict(&diagnostics);
    if let Some(fields) = verdict.as_object_mut() {
        fields.insert("success".into(), true.into());
    }
    Ok(Json(verdict).into_response())
}

/// `POST /api/profiles/{name}/validate`
pub async fn validate_profile(State(server): Shared, InPath(name): InPath<String>) -> Answer {
    let validate = move |server: &Server| {
        let profile = server.daemon.profiles.find(&name)?;
        Ok(keyrx_config::load(&profile.path).diagnostics)
    };
    Ok(Json(verdict(&server.profile_work(validate).await?)).into_response())
}

/// Whether a keymap can be used, and what there is to say about it. `errors` is what keyrx 1.x has.
fn verdict(diagnostics: &[Diagnostic]) -> Value {
    let errors = diagnostics.iter().filter(|it| it.severity == Severity::Error);
    let errors = errors.map(|it| json!({ "line": it.line, "column": it.column, "message": it.message }));
    let errors = errors.collect::<Vec<_>>();
    json!({ "valid": errors.is_empty(), "errors": errors, "diagnostics": diagnostics })
}

/// `GET /api/config`
pub async fn config(State(server): Shared) -> Json<Value> {
    let view = server.daemon.view();
    let text = view.loaded.as_ref().and_then(|loaded| loaded.texts().into_iter().next());
    Json(json!({ "content": text.map(|(_, text)| text).unwrap_or_default() }))
}

/// `GET /api/keymap`
pub async fn keymap(State(server): Shared) -> Json<Value> {
    let view = server.daemon.view();
    let files = view.loaded.as_ref().map(|loaded| loaded.texts()).unwrap_or_default();
    let files = files.into_iter().map(|(name, text)| json!({ "name": name, "text": text }));
    Json(json!({
        "path": view.source.path(),
        "profile": view.source.profile(),
        "state": view.state.name(),
        "files": files.collect::<Vec<_>>(),
        "diagnostics": *view.diagnostics,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    source: String,
}

/// `POST /api/check`
pub async fn check(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Source { source } = body(bytes)?;
    let directory = server.daemon.profiles.directory().to_owned();
    let read = move || keyrx_config::load_text("keymap", &source, Some(&directory)).diagnostics;
    Ok(Json(verdict(&server.work(read).await?)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Play {
    source: Option<String>,
    profile: Option<String>,
    events: String,
    #[serde(default = "usual_device")]
    device: String,
}

fn usual_device() -> String {
    "keyboard".into()
}

/// `POST /api/simulate`
pub async fn simulate(State(server): Shared, bytes: Result<Bytes, BytesRejection>) -> Answer {
    let Play { source, profile, events, device } = body(bytes)?;
    let moments = read_moments(&events, MOST_EVENTS)?;
    let directory = server.daemon.profiles.directory().to_owned();
    let load = move |server: &Server| match (source, profile) {
        (Some(source), None) => Ok(Ok(keyrx_config::load_text("keymap", &source, Some(&directory)))),
        (None, Some(profile)) => Ok(Ok(keyrx_config::load(&server.daemon.profiles.find(&profile)?.path))),
        _ => Ok(Err(Failure::bad("either a `source` or a `profile` is needed"))),
    };
    let simulate = move |server: &Server| -> Result<Answer, ProfileError> {
        Ok(load(server)?.and_then(|loaded| play_to(loaded, &device, moments)))
    };
    server.profile_work(simulate).await?
}

fn play_to(mut loaded: Loaded, device: &str, moments: Vec<Moment>) -> Answer {
    let Some(keymap) = loaded.keymap.take() else { return Err(Failure::of_keymap(&loaded.diagnostics)) };
    let info = DeviceInfo::named(device);
    let input = moments.into_iter().map(|moment| (info.clone(), moment)).collect::<Vec<_>>();
    let effects = play(keymap, &input).map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string())
    })?;
    let events = simulate::as_json(&effects, device, |effect| explain::cause(effect, &loaded));
    let text = notation::print(effects.iter().copied().map(Moment::from));
    Ok(Json(json!({ "events": events, "effects": text, "diagnostics": loaded.diagnostics })).into_response())
}

/// `GET /api/vocabulary`
pub async fn vocabulary() -> Json<Value> {
    let keys =
        Key::all().filter_map(|key| Some(json!({ "name": key.name()?, "spellings": key.spellings() })));
    Json(json!({
        "functions": keyrx_config::FUNCTIONS,
        "settings": keyrx_config::SETTINGS,
        "keys": keys.collect::<Vec<_>>(),
    }))
}
