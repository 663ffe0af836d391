//! Benchmarks: figures, with the means to repeat them.
//!
//! Times move with the machine and whatever else it does; counts of instructions do not.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cargo, setup};

/// Instructions per event of others on this kind of text, by callgrind: plain remaps and a layer, home-row mods.
const OTHERS: [(&str, u64, u64); 2] = [("keyd 2.6", 704, 774), ("kanata 1.12", 2684, 7425)];

/// So many events are timed, and so many counted: valgrind is slow.
const TIMED: u64 = 5_000_000;
const COUNTED: u64 = 200_000;

/// The engine alone: nanoseconds and instructions per event.
pub fn engine() -> Result<bool> {
    if let setup::Packages::Missing(install) = setup::debian(&["valgrind"])? {
        anyhow::bail!("valgrind is missing: {install}");
    }
    let bench = built()?;
    println!("{:<28}{:>16}{:>16}", "", "remaps, a layer", "home-row mods");
    let (mut nanos, mut instructions) = (Vec::new(), Vec::new());
    for keymap in ["remaps", "home-row-mods"] {
        let timed = Command::new(&bench).args([keymap, &TIMED.to_string()]).output()?;
        let said = String::from_utf8(timed.stdout)?;
        let figure = said.rsplit(", ").next().and_then(|last| last.split(' ').next());
        nanos.push(
            figure.and_then(|figure| figure.parse::<u64>().ok()).context("the benchmark said nothing")?,
        );
        instructions.push(count(&bench, keymap)?);
    }
    row("ns per event", &nanos);
    row("instructions per event", &instructions);
    for (name, remaps, mods) in OTHERS {
        row(&format!("  {name}, for comparison"), &[remaps, mods]);
    }
    let (_, remaps, mods) = OTHERS[0];
    Ok(instructions.iter().zip([remaps, mods]).all(|(ours, keyd)| *ours < keyd))
}

fn row(name: &str, figures: &[u64]) {
    println!("{name:<28}{}", figures.iter().map(|figure| format!("{figure:>16}")).collect::<String>());
}

/// The instructions that one event takes in `play`, all else left out.
fn count(bench: &PathBuf, keymap: &str) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*typing::play*"]);
    let counted = valgrind.arg(bench).args([keymap, &COUNTED.to_string()]).output()?;
    ensure!(counted.status.success(), "valgrind failed: {}", String::from_utf8_lossy(&counted.stderr));
    let said = String::from_utf8(counted.stderr)?;
    let total = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    let said = String::from_utf8(counted.stdout)?;
    let events = said.split_whitespace().nth(1).and_then(|events| events.parse::<u64>().ok());
    let (total, events) =
        (total.context("valgrind counted nothing")?, events.context("no events were played")?);
    Ok(total / events)
}

/// The benchmark program, as cargo says where it lies.
fn built() -> Result<PathBuf> {
    let arguments = ["bench", "--no-run", "--package", "keyrx-engine", "--bench", "typing"];
    let output = cargo::command(&arguments).arg("--message-format=json").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    let found =
        said.lines().filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next()).next_back();
    Ok(found.context("cargo built no benchmark")?.into())
}

/// The daemon under load, and its end.
pub fn daemon() -> Result<bool> {
    cargo::run(&["bench", "--package", "keyrx", "--bench", "daemon"])?;
    Ok(true)
}
