//! What the functions of the language do: they read their values and tell the draft.

use keyrx_engine::{Action, Condition, Key, LayerId, Modifiers, Pattern, TapHold};

use crate::diagnostic::Diagnostic;
use crate::draft::{Ends, Scope};
use crate::script::{Call, MAX_LOADS, Reported, Stop};
use crate::vocabulary::Accepts;
use crate::word::is_word_of_condition;

type Said = Result<(), Stop>;
type Made = Result<Action, Reported>;

/// More keys than that are text, and that is not what sequences are for.
const MAX_SEQUENCE: usize = 100;

pub fn map(call: &Call<'_>) -> Said {
    let (key, action) = (call.argument(0).key(), call.argument(1).action());
    map_to(call, key?, action?)
}

fn map_to(call: &Call<'_>, key: Key, action: Action) -> Said {
    call.draft.borrow_mut().map(key, action, call.place);
    Ok(())
}

pub fn tap_hold(call: &Call<'_>) -> Said {
    let key = call.argument(0).key();
    let (tap, hold) = (call.argument(1).tap(), call.argument(2).hold());
    let (term, key) = (term(call, 3), key?);
    let action = make_tap_hold(call, TapHold { tap: tap?, hold: hold?, term: term?, ..call.settings() })?;
    map_to(call, key, action)
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
    map_to(call, key, action)
}

fn term(call: &Call<'_>, index: usize) -> Result<u16, Reported> {
    if call.has(index) { call.argument(index).milliseconds() } else { Ok(call.settings().term) }
}

fn make_tap_hold(call: &Call<'_>, tap_hold: TapHold) -> Made {
    let mut draft = call.draft.borrow_mut();
    let action = draft.builder.tap_hold(tap_hold);
    draft.tap_holds.push(tap_hold);
    draft.numbered(call.place, action).ok_or(Reported)
}

pub fn sequence(call: &Call<'_>) -> Said {
    let (key, keys) = (call.argument(0).key(), sequence_of(call, 1));
    map_to(call, key?, keys?)
}

pub fn sequence_action(call: &Call<'_>) -> Made {
    sequence_of(call, 0)
}

fn sequence_of(call: &Call<'_>, index: usize) -> Made {
    let argument = call.argument(index);
    let keys = argument.keys(MAX_SEQUENCE)?;
    let mut draft = call.draft.borrow_mut();
    let action = draft.builder.sequence(&keys);
    draft.numbered(call.place, action).ok_or(Reported)
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
    let keys = [Key::LShift, Key::LCtrl, Key::LAlt, Key::LMeta];
    // All of them are read before the first mistake counts.
    let wanted: Vec<_> = (1..).zip(keys).map(|(index, key)| (key, call.argument(index).boolean())).collect();
    let chord = call.argument(0).chord();
    let mut modifiers = Vec::new();
    for (key, is_wanted) in wanted {
        modifiers.extend(is_wanted?.then_some(key));
    }
    add_modifiers(chord?, &modifiers)
}

fn with(call: &Call<'_>, modifiers: &[Key]) -> Made {
    add_modifiers(call.argument(0).chord()?, modifiers)
}

fn add_modifiers((own, key): (Modifiers, Key), modifiers: &[Key]) -> Made {
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

fn not_base(call: &Call<'_>, what: &str) -> Result<LayerId, Reported> {
    let name = call.argument(0).layer(true)?;
    if name == "base" {
        let message = format!("there is nothing to {what}: the base layer is below all others anyway");
        let help = "to go back to it, use `layer_switch(\"base\")`";
        return Err(call.argument(0).fail(Diagnostic::error("wrong-action", message).help(help)));
    }
    layer_id(call, &name)
}

fn layer_id(call: &Call<'_>, name: &str) -> Result<LayerId, Reported> {
    let mut draft = call.draft.borrow_mut();
    let id = draft.builder.layer(name);
    draft.numbered(call.place, id).ok_or(Reported)
}

pub fn layer(call: &Call<'_>) -> Said {
    let lend = layer_to_lend(call);
    run_block(call, lend)
}

fn layer_to_lend(call: &Call<'_>) -> Result<impl FnOnce(&mut Scope) + use<>, Reported> {
    let name = call.argument(0).text(Accepts::Layer)?;
    if is_word_of_condition(&name) || name.trim().is_empty() {
        let message = format!("a layer cannot be called \"{name}\"");
        let help = "in conditions that name has a meaning of its own: choose another";
        return Err(call.argument(0).fail(Diagnostic::error("layer-name", message).help(help)));
    }
    let id = layer_id(call, &name)?;
    call.draft.borrow_mut().layers.entry(name).or_insert(call.place);
    Ok(move |scope: &mut Scope| scope.layer = id)
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

fn condition_to_lend(call: &Call<'_>, negated: bool) -> Result<impl FnOnce(&mut Scope) + use<>, Reported> {
    let tests = call.argument(0).tests()?;
    let mut condition = if negated { Condition::not_all(tests) } else { Condition::all(tests) };
    Ok(move |scope: &mut Scope| {
        let outer = std::mem::take(&mut scope.condition);
        condition.0.retain(|clause| !outer.0.contains(clause));
        scope.condition = outer.and(condition);
    })
}

fn device_to_lend(call: &Call<'_>) -> Result<impl FnOnce(&mut Scope) + use<>, Reported> {
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
            Some(draft.numbered(call.place, id).ok_or(Reported)?)
        }
    };
    let place = id.map(|_| call.place);
    Ok(move |scope: &mut Scope| {
        scope.devices.extend(id);
        scope.rank = scope.rank.max(rank);
        scope.device_place = place.or(scope.device_place);
    })
}

/// Opens a block. One that cannot be understood is opened all the same, so that what is in it can be checked.
fn open<F: FnOnce(&mut Scope)>(call: &Call<'_>, ends: Ends, lend: Result<F, Reported>) -> Said {
    let mut draft = call.draft.borrow_mut();
    match lend {
        Ok(lend) => draft.open(ends, call.place, lend),
        Err(Reported) => draft.open(ends, call.place, |scope| scope.is_opaque = true),
    }
    Ok(())
}

/// Runs the closure that is the second argument as a block.
fn run_block<F: FnOnce(&mut Scope)>(call: &Call<'_>, lend: Result<F, Reported>) -> Said {
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
        open::<fn(&mut Scope)>(call, Ends::Closure, Err(Reported))?;
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
    let argument = call.argument(0);
    let name = argument.text(Accepts::File)?;
    let running = call.draft.borrow().files.clone();
    let found = call.draft.borrow_mut().find_file(&name);
    let file = found.map_err(|diagnostic| argument.fail(diagnostic))?;
    if running.contains(&file) {
        let message = format!("\"{name}\" is loading this file already: it would go on for ever");
        return Err(argument.fail(Diagnostic::error("load-cycle", message)).into());
    }
    if running.len() >= MAX_LOADS {
        let message = format!("files load each other more than {MAX_LOADS} deep");
        return Err(argument.fail(Diagnostic::error("limit", message)).into());
    }
    call.load(file)
}
