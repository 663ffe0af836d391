//! Puts version, icon, manifest and the sentences of the Event Log into the executable, where that is one of Windows.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

include!("src/service/event_table.rs");

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=resources");
    println!("cargo::rerun-if-changed=src/service/event_table.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "windows" {
        return Ok(());
    }
    let place = env::var("OUT_DIR")?;
    let script = Path::new(&place).join("keyrx.rc");
    let table = Path::new(&place).join("events.bin");
    fs::write(&table, message_table())?;
    fs::write(&script, resources(&table)?)?;
    embed_resource::compile(script, embed_resource::NONE).manifest_required()?;
    Ok(())
}

/// The resource script. Paths are written out: resource compilers look for files beside it.
fn resources(table: &Path) -> Result<String, Box<dyn Error>> {
    let directory = env::var("CARGO_MANIFEST_DIR")?;
    let file = |name: &str| {
        Path::new(&directory).join("resources").join(name).display().to_string().replace('\\', "/")
    };
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}"));
    let numbers = format!("{},{},{},0", part("MAJOR")?, part("MINOR")?, part("PATCH")?);
    let version = env::var("CARGO_PKG_VERSION")?;
    Ok(format!(
        r#"#pragma code_page(65001)
1 ICON "{icon}"
1 24 "{manifest}"
1 11 "{table}"
1 VERSIONINFO
FILEVERSION {numbers}
PRODUCTVERSION {numbers}
FILEOS 0x40004
FILETYPE 1
BEGIN
  BLOCK "StringFileInfo"
  BEGIN
    BLOCK "040904B0"
    BEGIN
      VALUE "CompanyName", "keyrx"
      VALUE "FileDescription", "keyrx keyboard remapper"
      VALUE "FileVersion", "{version}"
      VALUE "InternalName", "keyrx"
      VALUE "OriginalFilename", "keyrx.exe"
      VALUE "ProductName", "keyrx"
      VALUE "ProductVersion", "{version}"
      VALUE "LegalCopyright", "The keyrx authors, MIT OR Apache-2.0"
    END
  END
  BLOCK "VarFileInfo"
  BEGIN
    VALUE "Translation", 0x409, 1200
  END
END
"#,
        table = table.display().to_string().replace('\\', "/"),
        icon = file("keyrx.ico"),
        manifest = file("keyrx.manifest"),
    ))
}

/// A message table (`MESSAGE_RESOURCE_DATA`): blocks of successive numbers, each with the place of its texts. It is what
/// the message compiler makes; that is another program for each compiler, and this is the same for all.
fn message_table() -> Vec<u8> {
    let id = |number: u32| {
        (if number < 2000 {
            1_u32
        } else if number < 3000 {
            2
        } else {
            3
        }) << 30
            | number
    };
    let mut blocks: Vec<(u32, u32, Vec<u8>)> = Vec::new();
    for (number, sentence) in SENTENCES {
        let text: Vec<u16> = format!("{sentence}\r\n\0").encode_utf16().collect();
        let mut bytes: Vec<u8> = text.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(bytes.len() + 4).expect("a sentence is short");
        let entry = [&length.to_le_bytes()[..], &1_u16.to_le_bytes(), &bytes].concat(); // 1: in Unicode
        match blocks.last_mut() {
            Some((_, last, entries)) if *last + 1 == id(*number) => {
                *last += 1;
                entries.extend(entry);
            }
            _ => blocks.push((id(*number), id(*number), entry)),
        }
    }
    let number = |number: usize| u32::try_from(number).expect("a table is small").to_le_bytes();
    let mut table = number(blocks.len()).to_vec();
    let mut place = 4 + 12 * blocks.len();
    for (first, last, entries) in &blocks {
        table.extend([first.to_le_bytes(), last.to_le_bytes(), number(place)].concat());
        place += entries.len();
    }
    blocks.into_iter().for_each(|(_, _, entries)| table.extend(entries));
    table
}
