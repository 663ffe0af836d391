//! What the functions of the language do: they read their values and tell the draft.

use keyrx_engine::{Action, Key, LayerId, Modifiers, Pattern, TapHold};

use crate::diagnostic::Diagnostic;
use crate::draft::{Ends, Scope};
use crate::lower::{condition, is_word_of_condition};
use crate::script::{Call, Stop, load_file};
use crate::vocabulary::Accepts;

type Said = Result<(), Stop>;
type Made = Result<Action, Stop>;

/// More keys than that are text, and that is not what sequences are for.
const MAX_SEQUENCE: usize = 100;

pub fn map(call: &Call<'_>) -> Said {
    let (key, action) = (call.argument(0).key(), call.argument(1).action());
    call.map(key?, action?)
}

pub fn tap_hold(call: &Call<'_>) -> Said {
    let key = call.argument(0).key();
    let (tap, hold) = (call.argument(1).tap(), call.argument(2).hold());
    let (term, key) = (term(call, 3), key?);
    let action = make_tap_hold(call, TapHold { tap: tap?, hold: hold?, term: term?, ..call.settings() })?;
    call.map(key, action)
}

pub fn tap_hold_action(call: &Call<'_>) -> Made {
    let (tap, hold) = (call.argument(0).tap(), call.argument(1).hold());
    let settings = match call.has(2) {
        true => call.argument(2).settings(call.settings()),
        false => Ok(call.settings()),
    };
    make_tap_hold(call, TapHold { tap: tap?, hold: hold?, ..settings? })
}

pub fn hold_only(call: &Call<'_>) -> Said {
    let (key, hold, term) = (call.argument(0).key(), call.argument(1).hold(), term(call, 2));
    let (key, hold, term) = (key?, hold?, term?);
    let action = make_tap_hold(call, TapHold { tap: Action::Nothing, hold, term, ..call.settings() })?;
    call.map(key, action)
}

fn term(call: &Call<'_>, index: usize) -> Result<u16, Stop> {
    if call.has(index) { call.argument(index).milliseconds() } else { Ok(call.settings().term) }
}

fn make_tap_hold(call: &Call<'_>, tap_hold: TapHold) -> Made {
    let mut draft = call.draft.borrow_mut();
    let action = draft.builder.tap_hold(tap_hold);
    draft.tap_holds.push(tap_hold);
    draft.numbered(call.place, action).ok_or(Stop::Reported)
}

pub fn sequence(call: &Call<'_>) -> Said {
    let (key, keys) = (call.argument(0).key(), sequence_of(call, 1));
    call.map(key?, keys?)
}

pub fn sequence_action(call: &Call<'_>) -> Made {
    sequence_of(call, 0)
}

fn sequence_of(call: &Call<'_>, index: usize) -> Made {
    let argument = call.argument(index);
    let keys = argument.keys()?;
    if keys.len() > MAX_SEQUENCE {
        let message = format!("a sequence has at most {MAX_SEQUENCE} keys, not {}", keys.len());
        return Err(argument.fail(Diagnostic::error("out-of-range", message)));
    }
    let mut draft = call.draft.borrow_mut();
    let action = draft.builder.sequence(&keys);
    draft.numbered(call.place, action).ok_or(Stop::Reported)
}

pub fn with_shift(call: &Call<'_>) -> Made {
    with(call, &[Key::LShift])
}

pub fn with_ctrl(call: &Call<'_>) -> Made {
    with(call, &[Key::LCtrl])
}

pub fn with_alt(call: &Call<'_>) -> Made {
    with(call, &[Key::LAlt])
}

pub fn with_win(call: &Call<'_>) -> Made {
    with(call, &[Key::LMeta])
}

pub fn with_mods(call: &Call<'_>) -> Made {
    let mut modifiers = Vec::new();
    for (index, key) in (1..).zip([Key::LShift, Key::LCtrl, Key::LAlt, Key::LMeta]) {
        if call.argument(index).boolean()? {
            modifiers.push(key);
        }
    }
    with(call, &modifiers)
}

fn with(call: &Call<'_>, modifiers: &[Key]) -> Made {
    let (own, key) = call.argument(0).chord()?;
    let all = modifiers.iter().fold(own, |all, modifier| all.union(modifier.modifier()));
    Ok(if all == Modifiers::NONE { Action::Key(key) } else { Action::Chord(all, key) })
}

pub fn layer_hold(call: &Call<'_>) -> Made {
    not_base(call, "hold").map(Action::LayerHold)
}

pub fn layer_toggle(call: &Call<'_>) -> Made {
    not_base(call, "toggle").map(Action::LayerToggle)
}

pub fn layer_switch(call: &Call<'_>) -> Made {
    let name = call.argument(0).layer(true)?;
    layer_id(call, &name).map(Action::LayerSwitch)
}

fn not_base(call: &Call<'_>, what: &str) -> Result<LayerId, Stop> {
    let name = call.argument(0).layer(true)?;
    if name == "base" {
        let message = format!("there is nothing to {what}: the base layer is below all others anyway");
        let help = "to go back to it, use `layer_switch(\"base\")`";
        return Err(call.argument(0).fail(Diagnostic::error("wrong-action", message).help(help)));
    }
    layer_id(call, &name)
}

fn layer_id(call: &Call<'_>, name: &str) -> Result<LayerId, Stop> {
    let mut draft = call.draft.borrow_mut();
    let id = draft.builder.layer(name);
    draft.numbered(call.place, id).ok_or(Stop::Reported)
}

pub fn layer(call: &Call<'_>) -> Said {
    let lend = layer_to_lend(call);
    run_block(call, lend)
}

fn layer_to_lend(call: &Call<'_>) -> Result<impl FnOnce(&mut Scope) + use<>, Stop> {
    let name = call.argument(0).text(Accepts::Layer)?;
    if is_word_of_condition(&name) || name.trim().is_empty() {
        let message = format!("a layer cannot be called \"{name}\"");
        let help = "in conditions that name has a meaning of its own: choose another";
        return Err(call.argument(0).fail(Diagnostic::error("layer-name", message).help(help)));
    }
    let id = layer_id(call, &name)?;
    call.draft.borrow_mut().layers.entry(name).or_insert(call.place);
    Ok(move |scope: &mut Scope| scope.set_layer(id))
}

pub fn when(call: &Call<'_>) -> Said {
    run_block(call, condition_to_lend(call, false))
}

pub fn when_not(call: &Call<'_>) -> Said {
    run_block(call, condition_to_lend(call, true))
}

pub fn device(call: &Call<'_>) -> Said {
    run_block(call, device_to_lend(call))
}

pub fn when_start(call: &Call<'_>) -> Said {
    open(call, Ends::WhenEnd, condition_to_lend(call, false))
}

pub fn when_not_start(call: &Call<'_>) -> Said {
    open(call, Ends::WhenEnd, condition_to_lend(call, true))
}

pub fn when_device_start(call: &Call<'_>) -> Said {
    open(call, Ends::WhenEnd, device_to_lend(call))
}

pub fn device_start(call: &Call<'_>) -> Said {
    // As in keyrx 1.x, the next device block ends the one that is open.
    call.draft.borrow_mut().device_end(call.place, false);
    open(call, Ends::DeviceEnd, device_to_lend(call))
}

pub fn device_end(call: &Call<'_>) -> Said {
    call.draft.borrow_mut().device_end(call.place, true);
    Ok(())
}

pub fn when_end(call: &Call<'_>) -> Said {
    call.draft.borrow_mut().when_end(call.place);
    Ok(())
}

fn condition_to_lend(call: &Call<'_>, negated: bool) -> Result<impl FnOnce(&mut Scope) + use<>, Stop> {
    let tests = call.argument(0).tests()?;
    let condition = condition(tests, negated);
    Ok(move |scope: &mut Scope| scope.condition = std::mem::take(&mut scope.condition).and(condition))
}

fn device_to_lend(call: &Call<'_>) -> Result<impl FnOnce(&mut Scope) + use<>, Stop> {
    let pattern = call.argument(0).text(Accepts::Device)?;
    if pattern.is_empty() {
        let help = "write \"*\" for every keyboard; `keyrx devices` lists their names";
        return Err(call.argument(0).fail(Diagnostic::error("empty", "this pattern is empty").help(help)));
    }
    let rank = Pattern::new(&pattern).rank();
    let mut draft = call.draft.borrow_mut();
    let id = match rank {
        // `*` is every keyboard, as no block at all.
        0 => None,
        _ => {
            let id = draft.builder.device(&pattern);
            Some(draft.numbered(call.place, id).ok_or(Stop::Reported)?)
        }
    };
    Ok(move |scope: &mut Scope| {
        scope.devices.extend(id);
        scope.rank = scope.rank.max(rank);
    })
}

/// Opens a block. One that cannot be understood is opened all the same, so that what is in it can be checked.
fn open<F: FnOnce(&mut Scope)>(call: &Call<'_>, ends: Ends, lend: Result<F, Stop>) -> Said {
    let mut draft = call.draft.borrow_mut();
    match lend {
        Ok(lend) => draft.open(ends, call.place, lend),
        Err(Stop::Reported) => draft.open(ends, call.place, |scope| scope.is_opaque = true),
        Err(stop) => return Err(stop),
    }
    Ok(())
}

/// Runs the closure that is the second argument as a block.
fn run_block<F: FnOnce(&mut Scope)>(call: &Call<'_>, lend: Result<F, Stop>) -> Said {
    let block = call.argument(1).block()?;
    let depth = call.draft.borrow().depth();
    open(call, Ends::Closure, lend)?;
    call.run(&block)?;
    call.draft.borrow_mut().close_to(depth);
    Ok(())
}

/// Runs the closures of a call that nothing else can be made of, so that what is in them can be checked.
pub fn run_opaque(call: &Call<'_>) -> Said {
    for block in call.blocks() {
        let depth = call.draft.borrow().depth();
        open::<fn(&mut Scope)>(call, Ends::Closure, Err(Stop::Reported))?;
        call.run(&block)?;
        call.draft.borrow_mut().close_to(depth);
    }
    Ok(())
}

pub fn set(call: &Call<'_>) -> Said {
    let settings = call.argument(0).settings(call.settings())?;
    call.draft.borrow_mut().settings = settings;
    Ok(())
}

pub fn load(call: &Call<'_>) -> Said {
    let file = call.argument(0);
    let name = file.text(Accepts::File)?;
    load_file(call, &name).map_err(|stop| match stop {
        LoadError::Diagnostic(diagnostic) => file.fail(*diagnostic),
        LoadError::Stop(stop) => stop,
    })
}

/// Why a file could not be loaded.
pub enum LoadError {
    /// To be said at the file's name.
    Diagnostic(Box<Diagnostic>),
    Stop(Stop),
}
