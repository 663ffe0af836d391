//! What is done when keyrx panics: it is told, with its place, and counted. Whose thread it was takes care of the rest.

use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use crate::metrics::Metrics;

/// So much is told of what a panic says.
const MOST_SAID: usize = 200;

/// Tells of panics in the log from now on.
pub fn watch(metrics: Arc<Metrics>) {
    panic::set_hook(Box::new(move |info| {
        metrics.count_panic();
        tell(info);
    }));
}

fn tell(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let said = info.payload_as_str().unwrap_or_default();
    let said = said.chars().take(MOST_SAID).collect::<String>();
    let current = thread::current();
    let name = current.name().unwrap_or("?");
    tracing::error!(
        event = "panic",
        thread = name,
        location,
        error = said,
        "keyrx panicked in the thread {name} at {location}: {said}"
    );
}
