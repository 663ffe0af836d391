//! Puts version, icon and manifest into the executable, where that is one of Windows.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=resources");
    if env::var("CARGO_CFG_TARGET_OS")? != "windows" {
        return Ok(());
    }
    let script = Path::new(&env::var("OUT_DIR")?).join("keyrx.rc");
    fs::write(&script, resources()?)?;
    embed_resource::compile(script, embed_resource::NONE).manifest_required()?;
    Ok(())
}

/// The resource script. Paths are written out: resource compilers look for files beside it.
fn resources() -> Result<String, Box<dyn Error>> {
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
