//! `typing remaps|home-row-mods EVENTS`: prints the nanoseconds that one event takes. `cargo xtask bench engine`
//! runs it, and counts the instructions of `play` as well.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

use std::time::Instant;

use keyrx_engine::Engine;

#[path = "../tests/typing/mod.rs"]
mod typing;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let kind = args.first().map_or("home-row-mods", String::as_str);
    let count = args.get(1).map_or(1_000_000, |count| count.parse().unwrap());
    let keymap = match kind {
        "remaps" => typing::remaps_and_a_layer(),
        _ => typing::home_row_mods(),
    };
    let mut engine = Engine::new(keymap);
    let events = typing::events(count);
    let start = Instant::now();
    let effects = typing::play(&mut engine, &events);
    let nanos = start.elapsed().as_nanos();
    println!(
        "{kind}: {} events, {effects} effects, {} ns per event",
        events.len(),
        nanos / events.len() as u128
    );
}
