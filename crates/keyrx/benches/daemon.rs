//! The daemon under 1,000 events a second, 50 WebSockets and 200 questions about health a second; then SIGTERM.
#![allow(clippy::unwrap_used, reason = "what cannot be measured fails loudly")]

#[path = "../tests/support/mod.rs"]
mod support;

use support::load::{Load, run};
use support::{Daemon, KEYMAP, home};

fn main() {
    let seconds = std::env::var("KEYRX_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let home = home("bench");
    std::fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
    let mut daemon = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    let figures = run(&mut daemon, &Load { seconds, clients: 50, questions_per_second: 200 });
    let health = |permille| figures.health_within(permille).as_secs_f64() * 1e3;
    println!(
        "events            {} in {seconds} s, complete and in order: {}",
        figures.events, figures.is_complete
    );
    println!("latency           {}", figures.latency);
    println!("/health           {} asked, {} refused", figures.health.len(), figures.refused);
    println!(
        "                  p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
        health(500),
        health(990),
        health(999),
        health(1000)
    );
    println!("SIGTERM           ended with {:?} after {:.2} s", figures.exit, figures.stop.as_secs_f64());
    println!("                  {} of 50 clients told (1001), {} keys held", figures.told, figures.keys_held);
    assert!(figures.is_complete && figures.refused == 0 && figures.told == 50 && figures.keys_held == 0);
}
