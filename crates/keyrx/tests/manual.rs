//! What the manual shows works: its keymaps load, its scenarios pass, its reference is that of the code.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of a page.
struct Block {
    place: String,
    kind: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn blocks(kind: &str) -> Vec<Block> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut blocks = Vec::new();
    for page in pages.chain([root().join("README.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(kind)) => {
                    let place = format!("{}:{number}", page.display());
                    open = Some(Block { place, kind: kind.to_owned(), text: String::new() });
                }
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block has no end", page.display());
    }
    blocks.retain(|block| block.kind == kind);
    blocks
}

/// A block that needs files which are not there is marked `rhai,file`.
#[test]
fn every_keymap_of_the_manual_loads_without_a_warning() {
    let blocks = blocks("rhai");
    assert!(blocks.len() > 5);
    for block in blocks {
        let loaded = keyrx_config::load_text(&block.place, &block.text, None);
        let said = loaded.diagnostics.iter().map(ToString::to_string).collect::<String>();
        assert!(loaded.keymap.is_some() && said.is_empty(), "{}\n{said}", block.place);
    }
}

#[test]
fn every_scenario_of_the_manual_passes() {
    let blocks = blocks("keytest");
    assert!(!blocks.is_empty());
    for block in blocks {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manual.keytest");
        fs::write(&file, &block.text).unwrap();
        let test = Command::new(env!("CARGO_BIN_EXE_keyrx")).arg("test").arg(&file).output().unwrap();
        assert!(test.status.success(), "{}\n{}", block.place, String::from_utf8_lossy(&test.stdout));
    }
}

/// `KEYRX_BLESS=1 cargo test` writes it.
#[test]
fn the_reference_is_that_of_the_code() {
    let page = root().join("docs/reference.md");
    let reference = keyrx_config::reference();
    if std::env::var_os("KEYRX_BLESS").is_some() {
        fs::write(&page, &reference).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap();
    assert!(written == reference, "run `KEYRX_BLESS=1 cargo test -p keyrx --test manual`");
}
