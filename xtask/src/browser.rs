//! The page of keyrx in a real browser: Debian's Chromium, driven by `tests/browser`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::{self, Profile};
use crate::setup::{self, Packages};
use crate::test::Outcome;

/// What drives the browser: the last that is content with the Node.js of Debian 12.
const PLAYWRIGHT: &str = "playwright-core@1.58.2";

pub fn run() -> Result<Outcome> {
    let mut packages = vec!["chromium"];
    // They may have come from elsewhere, and then Debian's would be in their way.
    packages.extend([("node", "nodejs"), ("npm", "npm")].iter().filter(|it| !runs(it.0)).map(|it| it.1));
    if let Packages::Missing(command) = setup::debian(&packages)? {
        return Ok(Outcome::Unprepared(format!("please run: {command}")));
    }
    let playwright = playwright()?;
    let keyrx = cargo::build("keyrx", Profile::Dev)?;
    let directory = std::env::temp_dir().join(format!("keyrx-browser-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec", "tests/browser/page.test.mjs"])
        .current_dir(cargo::workspace())
        .env("PROGRAM", keyrx)
        .env("DIRECTORY", &directory)
        .env("CHROMIUM", "/usr/bin/chromium")
        .env("PLAYWRIGHT", playwright)
        // The browser's profile is made and left there.
        .env("TMPDIR", &directory)
        .env("HOME", &directory)
        .status();
    let _ = fs::remove_dir_all(&directory);
    let status = status.context("node cannot be started")?;
    ensure!(status.success(), "the tests of the page ended with {status}");
    Ok(Outcome::Passed)
}

fn runs(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The package, installed into the cache if it is not there.
fn playwright() -> Result<PathBuf> {
    let root = setup::cache()?.join(PLAYWRIGHT.replace('@', "-"));
    let package = root.join("node_modules/playwright-core");
    if !package.join("package.json").is_file() {
        fs::create_dir_all(&root)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&root).arg(PLAYWRIGHT);
        let status = npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").status();
        let status = status.context("npm cannot be started")?;
        ensure!(status.success(), "npm install {PLAYWRIGHT} ended with {status}");
    }
    Ok(package)
}
