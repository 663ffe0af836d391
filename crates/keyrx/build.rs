//! Puts version, icon, manifest and the messages of the Event Log into the executable, where that is one of Windows.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=resources");
    if env::var("CARGO_CFG_TARGET_OS")? != "windows" {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let script = out.join("keyrx.rc");
    fs::write(&script, resources(&messages(&out)?)?)?;
    embed_resource::compile(script, embed_resource::NONE).manifest_required()?;
    Ok(())
}

/// The table of messages, as the message compiler makes it from event_log.mc.
fn messages(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("resources/event_log.mc");
    let (compiler, advice) = match env::var("CARGO_CFG_TARGET_ENV")?.as_str() {
        "msvc" => {
            let found = embed_resource::find_windows_sdk_tool("mc.exe");
            (found.unwrap_or_else(|| "mc.exe".into()), "it comes with the Windows SDK")
        }
        _ => {
            let name = format!("{}-w64-mingw32-windmc", env::var("CARGO_CFG_TARGET_ARCH")?);
            (name.into(), "it comes with mingw-w64 (Debian: apt install binutils-mingw-w64-x86-64)")
        }
    };
    let status = Command::new(&compiler).arg("-h").arg(out).arg("-r").arg(out).arg(source).status();
    match status {
        Ok(status) if status.success() => Ok(out.join("MSG00409.bin")),
        Ok(status) => Err(format!("{}: {status}", compiler.display()).into()),
        Err(error) => Err(format!("{} cannot be run: {error}; {advice}", compiler.display()).into()),
    }
}

/// The resource script. Paths are written out: resource compilers look for files beside it.
fn resources(messages: &Path) -> Result<String, Box<dyn Error>> {
    let directory = env::var("CARGO_MANIFEST_DIR")?;
    let file = |name: &str| {
        Path::new(&directory).join("resources").join(name).display().to_string().replace('\\', "/")
    };
    let messages = messages.display().to_string().replace('\\', "/");
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}"));
    let numbers = format!("{},{},{},0", part("MAJOR")?, part("MINOR")?, part("PATCH")?);
    let version = env::var("CARGO_PKG_VERSION")?;
    Ok(format!(
        r#"#pragma code_page(65001)
1 ICON "{icon}"
1 24 "{manifest}"
1 11 "{messages}"
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
        icon = file("keyrx.ico"),
        manifest = file("keyrx.manifest"),
    ))
}
