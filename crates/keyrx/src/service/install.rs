//! `keyrx service install` and the like: what administrators do with the service.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use keyrx_platform::native::{event_log, process, scm, security, wer};
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceConfig, ServiceErrorControl,
    ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType,
    ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::steps::{self, Failed, Step};
use super::{INSTANCE, NAME};
use crate::cli::Exit;
use crate::event_log::{Entry, EventLog, SOURCE};
use crate::instance;
use crate::paths::{self, Paths};

const TITLE: &str = "keyrx keyboard remapper";
const DESCRIPTION: &str =
    "Keeps keyrx running for every user who is logged on. While it is stopped, keys are not mapped.";

/// How long it has before the system goes down.
const PRESHUTDOWN: Duration = Duration::from_secs(5);

/// When the service manager starts one that has died again: at the first, the second, and every further time.
const RESTARTS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// Without a death for so long, the next one is the first.
const RESET: Duration = Duration::from_secs(600);

/// What it needs of all that the system may do: to find out who is logged on, to run a program as that user, to see
/// what a program is at that hangs.
const PRIVILEGES: [&str; 6] = [
    "SeTcbPrivilege",
    "SeAssignPrimaryTokenPrivilege",
    "SeIncreaseQuotaPrivilege",
    "SeImpersonatePrivilege",
    "SeChangeNotifyPrivilege",
    "SeDebugPrivilege",
];

/// Where Windows itself leaves dumps of a keyrx that dies: with the reports of its user, who has to be able to write there.
const DUMPS: &str = r"%LOCALAPPDATA%\keyrx\crashes";

const UNTIL_STARTED: Duration = Duration::from_secs(20);
const UNTIL_STOPPED: Duration = Duration::from_secs(10);
const UNTIL_FORGOTTEN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_INVALID_SERVICE_CONTROL: i32 = 1052;
const ERROR_SERVICE_ALREADY_RUNNING: i32 = 1056;
const ERROR_SERVICE_DOES_NOT_EXIST: i32 = 1060;
const ERROR_SERVICE_CANNOT_ACCEPT_CTRL: i32 = 1061;
const ERROR_SERVICE_NOT_ACTIVE: i32 = 1062;
const ERROR_SERVICE_MARKED_FOR_DELETE: i32 = 1072;

/// What the service manager says, in our words.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("this needs an administrator: open the terminal with \"Run as administrator\" and say it again")]
    NotElevated,
    #[error("the service is not installed; `keyrx service install` installs it")]
    NotInstalled,
    #[error(
        "the service is marked for deletion: close the windows that show services (Services, Task Manager), or restart \
         the machine, and say it again"
    )]
    MarkedForDeletion,
}

/// How a command ends, if it is for something that the service manager has refused, by itself or in a step.
pub fn exit(error: &anyhow::Error) -> Option<Exit> {
    let why = error.downcast_ref::<Failed>().map_or(error, |failed| &failed.why);
    Some(match why.downcast_ref()? {
        Refused::NotElevated | Refused::MarkedForDeletion => Exit::NotPermitted,
        Refused::NotInstalled => Exit::NotRunning,
    })
}

/// What the service manager answers.
fn refused(error: windows_service::Error) -> anyhow::Error {
    let windows_service::Error::Winapi(error) = error else { return error.into() };
    match error.raw_os_error() {
        Some(ERROR_ACCESS_DENIED) => Refused::NotElevated.into(),
        Some(ERROR_SERVICE_DOES_NOT_EXIST) => Refused::NotInstalled.into(),
        Some(ERROR_SERVICE_MARKED_FOR_DELETE) => Refused::MarkedForDeletion.into(),
        _ => error.into(),
    }
}

fn is_error(error: &windows_service::Error, code: i32) -> bool {
    matches!(error, windows_service::Error::Winapi(error) if error.raw_os_error() == Some(code))
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access).map_err(refused)
}

fn open(access: ServiceAccess) -> Result<Service> {
    manager(ServiceManagerAccess::CONNECT)?.open_service(NAME, access).map_err(refused)
}

/// Only administrators may go on.
fn need_rights() -> Result<()> {
    if process::is_elevated() { Ok(()) } else { Err(Refused::NotElevated.into()) }
}

/// Installs the service, or brings the one that is there up to date. With `is_strict` nothing may be missing.
pub fn install(is_strict: bool) -> Result<Exit> {
    need_rights()?;
    let program = std::env::current_exe().context("it is not known where keyrx is")?;
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let access = ServiceAccess::QUERY_CONFIG
        | ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::START
        | ServiceAccess::DELETE;
    let before = match manager.open_service(NAME, access) {
        Ok(service) => Some(service.query_config().map_err(refused)?),
        Err(error) if is_error(&error, ERROR_SERVICE_DOES_NOT_EXIST) => None,
        Err(error) => return Err(refused(error)),
    };
    let service = || manager.open_service(NAME, access).map_err(refused);
    let paths = Paths::machine();
    let crash_folder = paths.crashes();
    // They go with a service that is new; for one that was there they are as good with any version of keyrx.
    let wanted = |name, make| Step { name, is_needed: false, make, undo: Box::new(|| Ok(())) };
    let had_folder = paths.state_dir().exists();
    let steps = vec![
        Step {
            name: "the directory of the service",
            is_needed: true,
            make: Box::new(|| {
                paths::create(&crash_folder)?;
                security::share(paths.state_dir())?;
                Ok(security::hide(&crash_folder)?)
            }),
            undo: Box::new(
                || if had_folder { Ok(()) } else { Ok(std::fs::remove_dir_all(paths.state_dir())?) },
            ),
        },
        Step {
            name: "the service",
            is_needed: true,
            make: Box::new(|| {
                let info = info(&program);
                match before {
                    None => manager.create_service(&info, access).map(drop).map_err(refused),
                    Some(_) => service()?.change_config(&info).map_err(refused),
                }
            }),
            undo: Box::new(|| match &before {
                None => service()?.delete().map_err(refused),
                Some(before) => service()?.change_config(&as_it_was(before)).map_err(refused),
            }),
        },
        Step {
            name: "the source of events",
            is_needed: true,
            make: Box::new(|| Ok(event_log::register_source(SOURCE, &program)?)),
            undo: Box::new(|| match &before {
                None => Ok(event_log::unregister_source(SOURCE)?),
                Some(before) => Ok(event_log::register_source(SOURCE, &command(before).0)?),
            }),
        },
        wanted("the description", Box::new(|| service()?.set_description(DESCRIPTION).map_err(refused))),
        wanted(
            "the time before the system goes down",
            Box::new(|| service()?.set_preshutdown_timeout(PRESHUTDOWN).map_err(refused)),
        ),
        wanted("the privileges", Box::new(|| Ok(scm::require_privileges(NAME, &PRIVILEGES)?))),
        wanted(
            "an identity of its own",
            Box::new(|| {
                service()?.set_config_service_sid_info(ServiceSidType::Unrestricted).map_err(refused)
            }),
        ),
        wanted(
            "restarts after a crash",
            Box::new(|| service()?.update_failure_actions(failure_actions()).map_err(refused)),
        ),
        wanted(
            "restarts after a failure",
            Box::new(|| service()?.set_failure_actions_on_non_crash_failures(true).map_err(refused)),
        ),
        wanted("dumps of crashes", Box::new(|| Ok(wer::register(&file_name(&program), Path::new(DUMPS))?))),
    ];
    let warnings = steps::make(steps, is_strict)?;
    for warning in warnings {
        eprintln!("keyrx: this system refuses {warning}");
    }
    EventLog::open().report(Entry::Installed { version: env!("CARGO_PKG_VERSION").into() });
    match before {
        None => {
            println!("the service is installed; it starts with the system, or now by `keyrx service start`")
        }
        Some(_) => println!("the service was there, and is up to date"),
    }
    Ok(Exit::Ok)
}

fn info(program: &Path) -> ServiceInfo {
    ServiceInfo {
        name: NAME.into(),
        display_name: TITLE.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.to_owned(),
        launch_arguments: ["service", "run"].map(Into::into).to_vec(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    }
}

/// What was there before.
fn as_it_was(config: &ServiceConfig) -> ServiceInfo {
    let (executable_path, launch_arguments) = command(config);
    ServiceInfo {
        display_name: config.display_name.clone(),
        start_type: config.start_type,
        launch_arguments,
        ..info(&executable_path)
    }
}

/// The program of a service and its arguments, which the manager has as one line; the program is in quotes there, or
/// should be.
fn command(config: &ServiceConfig) -> (PathBuf, Vec<OsString>) {
    let line = config.executable_path.to_string_lossy();
    let (program, arguments) = match line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some(parts) => parts,
        None => {
            let end = line.to_ascii_lowercase().find(".exe").map_or(line.len(), |at| at + ".exe".len());
            line.split_at_checked(end).unwrap_or((&line, ""))
        }
    };
    (program.into(), arguments.split_whitespace().map(OsString::from).collect())
}

fn file_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn failure_actions() -> ServiceFailureActions {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESET),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    }
}

/// Stops the service and has the system forget it. `is_purge`: with everything that it has kept.
pub fn uninstall(is_purge: bool) -> Result<Exit> {
    need_rights()?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    match open(access) {
        Ok(service) => {
            if let Err(error) = halt(&service) {
                eprintln!("keyrx: {error:#}; it is removed all the same");
            }
            match service.delete() {
                Ok(()) => {}
                Err(error) if is_error(&error, ERROR_SERVICE_MARKED_FOR_DELETE) => {}
                Err(error) => return Err(refused(error)),
            }
            drop(service);
            EventLog::open().report(Entry::Uninstalled);
            println!("the service is uninstalled");
            let is_forgotten =
                || Ok(open(ServiceAccess::QUERY_STATUS).is_err_and(|error| is_unknown(&error)));
            if !within(UNTIL_FORGOTTEN, is_forgotten)? {
                println!(
                    "the system forgets it when the windows that show services are closed, or at the next start"
                );
            }
        }
        Err(error) if is_unknown(&error) => println!("the service is not installed"),
        Err(error) => return Err(error),
    }
    let program = std::env::current_exe().context("it is not known where keyrx is")?;
    event_log::unregister_source(SOURCE).context("the source of events cannot be removed")?;
    wer::unregister(&file_name(&program)).context("the entry for dumps cannot be removed")?;
    if is_purge {
        let place = Paths::machine().state_dir().to_owned();
        if place.exists() {
            std::fs::remove_dir_all(&place)
                .with_context(|| format!("{} cannot be removed", place.display()))?;
        }
    }
    Ok(Exit::Ok)
}

fn is_unknown(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Refused::NotInstalled))
}

pub fn start() -> Result<Exit> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    if state(&service)? == ServiceState::Running {
        println!("the service is running already");
        return Ok(Exit::Ok);
    }
    let (mut is_asked, mut has_failed) = (false, false);
    let is_over = within(UNTIL_STARTED, || {
        match state(&service)? {
            ServiceState::Running => return Ok(true),
            ServiceState::Stopped if is_asked => {
                has_failed = true;
                return Ok(true);
            }
            ServiceState::Stopped => match service.start(&[] as &[&OsStr]) {
                Ok(()) => is_asked = true,
                Err(error) if is_error(&error, ERROR_SERVICE_ALREADY_RUNNING) => {}
                Err(error) => return Err(refused(error)),
            },
            // Somebody else has had it start.
            ServiceState::StartPending => is_asked = true,
            // It has to end before it can start.
            _ => {}
        }
        Ok(false)
    })?;
    if has_failed {
        bail!("the service has ended at its start; {} says why", log().display());
    }
    if !is_over {
        bail!("the service has not started within {} s", UNTIL_STARTED.as_secs());
    }
    println!("the service runs");
    Ok(Exit::Ok)
}

pub fn stop() -> Result<Exit> {
    let was_running = halt(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)?;
    println!("{}", if was_running { "the service has stopped" } else { "the service is not running" });
    Ok(Exit::Ok)
}

pub fn restart() -> Result<Exit> {
    halt(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)?;
    start()
}

/// Stops it, and waits for that. Whether there was something to stop.
fn halt(service: &Service) -> Result<bool> {
    let mut was_there = false;
    let has_stopped = within(UNTIL_STOPPED, || {
        match state(service)? {
            ServiceState::Stopped => return Ok(true),
            ServiceState::StopPending => {}
            _ => match service.stop() {
                Ok(_) => {}
                // One that starts takes no orders until it runs. Wine has another word for that.
                Err(error) if is_error(&error, ERROR_SERVICE_CANNOT_ACCEPT_CTRL) => {}
                Err(error) if is_error(&error, ERROR_INVALID_SERVICE_CONTROL) => {}
                Err(error) if is_error(&error, ERROR_SERVICE_NOT_ACTIVE) => {}
                Err(error) => return Err(refused(error)),
            },
        }
        was_there = true;
        Ok(false)
    })?;
    if !has_stopped {
        bail!("the service has not stopped within {} s", UNTIL_STOPPED.as_secs());
    }
    Ok(was_there)
}

fn state(service: &Service) -> Result<ServiceState> {
    service.query_status().map(|status| status.current_state).map_err(refused)
}

/// Whether it comes true in time.
fn within(limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = Instant::now();
    loop {
        if is_so()? {
            return Ok(true);
        }
        if begin.elapsed() >= limit {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

fn log() -> PathBuf {
    Paths::machine().state_dir().join("service.log")
}

/// Says how the service is; ends with 4 unless it runs.
pub fn status(is_json: bool) -> Result<Exit> {
    let service = match open(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG) {
        Ok(service) => service,
        Err(error) if is_unknown(&error) => {
            match is_json {
                true => println!("{}", serde_json::json!({ "installed": false })),
                false => println!("{error}"),
            }
            return Ok(Exit::NotRunning);
        }
        Err(error) => return Err(error),
    };
    let status = service.query_status().map_err(refused)?;
    let config = service.query_config().map_err(refused)?;
    let state = match status.current_state {
        ServiceState::Running => "running",
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending => "starting",
        ServiceState::StopPending => "stopping",
        _ => "paused",
    };
    let exit_code = match status.exit_code {
        ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code,
    };
    let start_type = match config.start_type {
        ServiceStartType::AutoStart => "auto",
        ServiceStartType::OnDemand => "manual",
        ServiceStartType::Disabled => "disabled",
        _ => "boot",
    };
    let line = config.executable_path.to_string_lossy().into_owned();
    let (program, _) = command(&config);
    let this = std::env::current_exe().context("it is not known where keyrx is")?;
    let is_this_program = program.as_os_str().eq_ignore_ascii_case(&this);
    // What a dead one has left is not believed.
    let said = instance::said_to_run(Paths::machine().state_dir(), INSTANCE);
    let version = said.filter(|said| Some(said.pid) == status.process_id).and_then(|said| said.version);
    let version_mismatch = version.as_ref().is_some_and(|version| version != env!("CARGO_PKG_VERSION"));
    if is_json {
        let all = serde_json::json!({
            "installed": true,
            "state": state,
            "pid": status.process_id,
            "start_type": start_type,
            "exit_code": exit_code,
            "command": line,
            "program": program,
            "is_this_program": is_this_program,
            "version": version,
            "version_mismatch": version_mismatch,
        });
        println!("{all}");
    } else {
        let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
        let process = status.process_id.map(|pid| format!(" (process {pid}{version})")).unwrap_or_default();
        println!("the service is {state}{process}; start: {start_type}; {line}");
        if !is_this_program {
            println!(
                "that is another program than this one ({}); `keyrx service install` makes it this one",
                this.display()
            );
        }
        if version_mismatch {
            println!(
                "this is version {}; `keyrx service restart` starts the one that is installed",
                env!("CARGO_PKG_VERSION")
            );
        }
        if exit_code != 0 {
            println!("it ended with the error {exit_code} of Windows; {} says more", log().display());
        }
    }
    Ok(if status.current_state == ServiceState::Running { Exit::Ok } else { Exit::NotRunning })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_manager_refuses_is_told_with_what_to_do_and_a_code_of_its_own() {
        let refused = |code| refused(windows_service::Error::Winapi(io::Error::from_raw_os_error(code)));
        let check = |code, is: Exit, part: &str| {
            let error = refused(code);
            assert_eq!(exit(&error), Some(is), "{error}");
            assert!(error.to_string().contains(part), "{error}");
            // In a step it is the same.
            let make = Box::new(|| Err(refused(code)));
            let step = Step { name: "the service", is_needed: true, make, undo: Box::new(|| Ok(())) };
            let error = anyhow::Error::from(steps::make(vec![step], false).unwrap_err());
            assert_eq!(exit(&error), Some(is), "{error}");
            assert_eq!(format!("{error:#}").matches(part).count(), 1, "{error:#}");
        };
        check(ERROR_ACCESS_DENIED, Exit::NotPermitted, "Run as administrator");
        check(ERROR_SERVICE_DOES_NOT_EXIST, Exit::NotRunning, "keyrx service install");
        check(ERROR_SERVICE_MARKED_FOR_DELETE, Exit::NotPermitted, "restart the machine");
        assert_eq!(exit(&refused(1053)), None);
    }

    #[test]
    fn what_was_installed_before_is_set_again_as_it_was() {
        let check = |line: &str, program: &str, arguments: &[&str]| {
            let config = ServiceConfig {
                service_type: ServiceType::OWN_PROCESS,
                start_type: ServiceStartType::OnDemand,
                error_control: ServiceErrorControl::Normal,
                executable_path: line.into(),
                load_order_group: None,
                tag_id: 0,
                dependencies: Vec::new(),
                account_name: None,
                display_name: "a name".into(),
            };
            let info = as_it_was(&config);
            assert_eq!(info.executable_path, Path::new(program));
            assert_eq!(info.launch_arguments, arguments);
            assert_eq!((info.start_type, info.display_name), (ServiceStartType::OnDemand, "a name".into()));
        };
        let program = r"C:\Program Files\keyrx\keyrx.exe";
        check(&format!(r#""{program}" service run"#), program, &["service", "run"]);
        check(&format!("{program} service run"), program, &["service", "run"]);
        check(r"C:\keyrx\KEYRX.EXE -x", r"C:\keyrx\KEYRX.EXE", &["-x"]);
        check(r"C:\keyrx\keyrx", r"C:\keyrx\keyrx", &[]);
    }
}
