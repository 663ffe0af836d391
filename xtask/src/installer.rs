//! What is shipped for Windows around the program: an installer (MSI), and an archive (zip) for those who want none.
//!
//! Both have the same bytes whenever and wherever they are made of the same files: their dates are those of a day that is
//! past, their numbers follow from what is in them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;
use crate::windows::sha256;

/// What makes them.
pub const PACKAGES: &[&str] = &["msitools", "wixl", "zip"];

/// The day that all files are from, for the tools, and as Windows counts it: 100 ns since 1601.
const DAY: &str = "2026-01-01 00:00:00 UTC";
const DAY_IN_WINDOWS: u64 = 134_116_992_000_000_000;

/// What wixl does not know: the program can be called by its name, and old versions go before the new one comes, as do
/// other builds of the same version, which wixl reads and leaves out (768: from the least to the greatest, with both).
const QUERIES: &[&str] = &[
    "CREATE TABLE `Environment` (`Environment` CHAR(72) NOT NULL, `Name` CHAR(255) NOT NULL LOCALIZABLE, \
     `Value` CHAR(255) LOCALIZABLE, `Component_` CHAR(72) NOT NULL PRIMARY KEY `Environment`)",
    "INSERT INTO `Environment` (`Environment`, `Name`, `Value`, `Component_`) \
     VALUES ('Path', '=-*PATH', '[~];[INSTALLDIR]', 'Program')",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Sequence`) VALUES ('WriteEnvironmentStrings', 5200)",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Sequence`) VALUES ('RemoveEnvironmentStrings', 3300)",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Sequence`) VALUES ('RemoveExistingProducts', 1450)",
    "DELETE FROM `Upgrade` WHERE `ActionProperty` = 'OLDER'",
    "INSERT INTO `Upgrade` (`UpgradeCode`, `VersionMin`, `VersionMax`, `Attributes`, `ActionProperty`) \
     VALUES ('{B0E7D1B6-6C1F-4C0E-9D0A-4B8D6E5C7A21}', '0.0.0', '{version}', 768, 'OLDER')",
    // Before the program goes, the service stops; at an upgrade the next version installs it again.
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Condition`, `Sequence`) \
     VALUES ('ServiceStop', 'REMOVE=\"ALL\"', 3201)",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Condition`, `Sequence`) \
     VALUES ('ServiceUninstall', 'REMOVE=\"ALL\" AND NOT UPGRADINGPRODUCTCODE', 3202)",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Condition`, `Sequence`) \
     VALUES ('ServiceInstall', 'NOT REMOVE', 6500)",
    "INSERT INTO `InstallExecuteSequence` (`Action`, `Condition`, `Sequence`) \
     VALUES ('ServiceStart', 'NOT REMOVE', 6501)",
];

/// Makes both of a program, as `version` (three numbers), in a directory. The installer and the archive.
pub fn build(program: &Path, version: &str, directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let stage = directory.join(format!("keyrx-{version}"));
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(stage.join("keymaps"))?;
    let workspace = cargo::workspace();
    let copy = |from: PathBuf, to: &str| -> Result<()> {
        fs::copy(&from, stage.join(to)).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    copy(program.to_owned(), "keyrx.exe")?;
    copy(workspace.join("README.md"), "README.md")?;
    for licence in ["MIT", "APACHE"] {
        copy(workspace.join(format!("LICENSE-{licence}")), &format!("LICENSE-{licence}.txt"))?;
    }
    let mut keymaps = fs::read_dir(workspace.join("keymaps"))?
        .map(|entry| entry?.file_name().into_string().ok().context("a keymap has a plain name"))
        .collect::<Result<Vec<_>>>()?;
    keymaps.sort();
    for keymap in &keymaps {
        copy(workspace.join("keymaps").join(keymap), &format!("keymaps/{keymap}"))?;
    }
    set_dates(&stage)?;
    let zip = zip(&stage, version, directory)?;
    // Only the installer has them.
    copy(workspace.join("crates/keyrx/resources/keyrx.ico"), "keyrx.ico")?;
    fs::write(stage.join("keyrx.wxs"), script(&keymaps)?)?;
    set_dates(&stage)?;
    Ok((msi(&stage, version, directory)?, zip))
}

fn script(keymaps: &[String]) -> Result<String> {
    let mut component = String::from(
        "<Component Id=\"Keymaps\" Guid=\"5B0F6A0E-8F3B-4B61-9B8C-0C4C1A6C2D05\" Win64=\"yes\">\n",
    );
    for (number, keymap) in keymaps.iter().enumerate() {
        let key = if number == 0 { " KeyPath=\"yes\"" } else { "" };
        writeln!(
            component,
            "<File Id=\"keymap_{number}\" Name=\"{keymap}\" Source=\"keymaps/{keymap}\"{key} />"
        )?;
    }
    component.push_str("</Component>");
    let script = fs::read_to_string(cargo::workspace().join("packaging/windows/keyrx.wxs"))?;
    ensure!(script.contains("$(var.KEYMAPS)"), "the installer's script has no place for the keymaps");
    Ok(script.replace("$(var.KEYMAPS)", &component))
}

fn msi(stage: &Path, version: &str, directory: &Path) -> Result<PathBuf> {
    let msi = directory.join(format!("keyrx-{version}-x64.msi"));
    let _ = fs::remove_file(&msi);
    let digest = digest(stage, version)?;
    let product = format!("ProductCode={}", guid(&digest));
    let mut wixl = Command::new("wixl");
    wixl.args(["--arch", "x64", "--define", &format!("Version={version}"), "--define", &product, "--output"]);
    run(wixl.arg(&msi).arg("keyrx.wxs").current_dir(stage))?;
    for query in QUERIES {
        let query = query.replace("{version}", version);
        run(Command::new("msibuild").arg(&msi).args(["-q", &query]))?;
    }
    let package = guid(&digest.chars().rev().collect::<String>());
    let summary = run(Command::new("msiinfo").arg("suminfo").arg(&msi))?;
    let random = summary.lines().find_map(|line| line.strip_prefix("Revision number (UUID): "));
    settle(&msi, random.context("the installer has no package code")?, &format!("{{{package}}}"))?;
    winget(&msi, version, &guid(&digest), directory)?;
    Ok(msi)
}

/// The manifests for winget, which name the installer by its hash.
fn winget(msi: &Path, version: &str, product: &str, directory: &Path) -> Result<()> {
    let place = directory.join("winget").join(version);
    fs::create_dir_all(&place)?;
    let digest = sha256(msi)?.to_ascii_uppercase();
    let values = [("{version}", version), ("{sha256}", &digest), ("{product}", &format!("{{{product}}}"))];
    for manifest in files(&cargo::workspace().join("packaging/windows/winget"))? {
        let text = filled(&fs::read_to_string(&manifest)?, &values)?;
        fs::write(place.join(manifest.file_name().context("a file has a name")?), text)?;
    }
    Ok(())
}

/// A template with the values of its names; each name has to have one.
fn filled(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let text = values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    let left = text.lines().find(|line| line.replace("'{", "").contains('{'));
    ensure!(left.is_none(), "nobody fills in {left:?}");
    Ok(text)
}

/// wixl rolls dice for the package code and writes the time of day beside it: both are set to what they are to be.
fn settle(msi: &Path, random: &str, package: &str) -> Result<()> {
    ensure!(random.len() == package.len(), "a package code is no GUID: {random}");
    let bytes = fs::read(msi)?;
    let is_code = |window: &[u8]| window == random.as_bytes();
    let places = bytes.windows(random.len()).enumerate().filter(|(_, window)| is_code(window));
    let places = places.map(|(place, _)| place).collect::<Vec<_>>();
    let [place] = places[..] else { bail!("the package code is there {} times", places.len()) };
    let (before, rest) = bytes.split_at(place);
    let (_, after) = rest.split_at(random.len());
    // The dates are in the same set of properties, which is small.
    let (before, near) = before.split_at(before.len().saturating_sub(NEAR));
    let (also_near, after) = after.split_at(after.len().min(NEAR));
    let (mut near, mut also_near) = (near.to_vec(), also_near.to_vec());
    let dates = set_date(&mut near) + set_date(&mut also_near);
    ensure!(dates == 2, "the installer has {dates} dates instead of two");
    fs::write(msi, [before, &near, package.as_bytes(), &also_near, after].concat())?;
    Ok(())
}

/// So far from the package code its neighbours are.
const NEAR: usize = 600;

/// Sets all dates that are later than our day: each has its type (VT_FILETIME) before it. How many there are.
fn set_date(bytes: &mut [u8]) -> usize {
    let mut count = 0;
    let mut rest = bytes;
    while let Some((head, _)) = rest.split_first_chunk_mut::<12>() {
        let [t0, t1, t2, t3, date @ ..] = head;
        let value = u64::from_le_bytes(*date);
        if [*t0, *t1, *t2, *t3] == [0x40, 0, 0, 0] && (DAY_IN_WINDOWS..2 * DAY_IN_WINDOWS).contains(&value) {
            *date = DAY_IN_WINDOWS.to_le_bytes();
            count += 1;
        }
        let Some((_, next)) = rest.split_first_mut() else { break };
        rest = next;
    }
    count
}

fn zip(stage: &Path, version: &str, directory: &Path) -> Result<PathBuf> {
    let zip = directory.join(format!("keyrx-{version}-x64.zip"));
    let _ = fs::remove_file(&zip);
    let mut names = Vec::new();
    for file in files(stage)? {
        names.push(file.strip_prefix(directory)?.to_owned());
    }
    let mut command = Command::new("zip");
    // No owners and no times of access; and the day as UTC has it.
    command.args(["-X", "-9", "-q", "-D"]).arg(&zip).args(names).current_dir(directory).env("TZ", "UTC");
    run(&mut command)?;
    Ok(zip)
}

/// All files, in order.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(files(&path)?) } else { all.push(path) }
    }
    all.sort();
    Ok(all)
}

fn set_dates(stage: &Path) -> Result<()> {
    run(Command::new("touch").args(["--date", DAY]).args(files(stage)?)).map(drop)
}

/// A number for all that is in it.
fn digest(stage: &Path, version: &str) -> Result<String> {
    let mut list = format!("{version}\n");
    for file in files(stage)? {
        writeln!(list, "{} {}", file.strip_prefix(stage)?.display(), sha256(&file)?)?;
    }
    let place = stage.with_extension("list");
    fs::write(&place, list)?;
    let digest = sha256(&place);
    fs::remove_file(&place)?;
    digest
}

/// The beginning of a digest as a GUID of the kind that is made of a hash (version 8).
fn guid(digest: &str) -> String {
    let digit = |at: usize| digest.chars().nth(at).unwrap_or('0').to_ascii_uppercase();
    let part = |from: usize, to: usize| (from..to).map(digit).collect::<String>();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// What it says, if it succeeds.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    // wixl leaves out what it does not understand, says so, and ends with success.
    ensure!(
        output.status.success() && complaints.is_empty(),
        "{command:?} ended with {}:\n{said}{complaints}",
        output.status
    );
    Ok(said)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_digest_makes_a_guid_of_version_8() {
        assert_eq!(guid(DIGEST), "01234567-89AB-8DEF-8123-456789ABCDEF");
    }

    #[test]
    fn dates_later_than_the_day_become_the_day_and_nothing_else_does() {
        let property = |kind: u8, value: u64| [&[kind, 0, 0, 0][..], &value.to_le_bytes()].concat();
        let (now, before) = (DAY_IN_WINDOWS + 1234, DAY_IN_WINDOWS - 1);
        let of = |date| [vec![7], property(0x40, date), property(0x40, before), property(3, now)].concat();
        let mut bytes = of(now);
        assert_eq!(set_date(&mut bytes), 1);
        assert_eq!(bytes, of(DAY_IN_WINDOWS));
    }

    /// The value of an attribute in a line of XML.
    fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
        let value = line.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no {name} in {line}"))
    }

    #[test]
    fn the_program_installs_its_own_service_at_the_right_moments() {
        let script = script(&["a.rhai".to_owned()]).unwrap();
        for table in ["<ServiceInstall", "<ServiceControl"] {
            assert!(!script.contains(table), "the installer writes the service itself");
        }
        let actions = script.lines().filter(|line| line.contains("<CustomAction "));
        let mut moments = BTreeMap::new();
        for action in actions {
            let id = attribute(action, "Id");
            // As the system, and only when what is written can be undone.
            assert_eq!((attribute(action, "Execute"), attribute(action, "Impersonate")), ("deferred", "no"));
            let query = QUERIES.iter().find(|query| query.contains(&format!("('{id}',")));
            let query = query.unwrap_or_else(|| panic!("{id} is never run"));
            let number = query.trim_end_matches(')').rsplit(' ').next().unwrap();
            moments.insert(number.parse::<u32>().unwrap(), id);
        }
        let order = moments.into_iter().collect::<Vec<_>>();
        let names = order.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        assert_eq!(names, ["ServiceStop", "ServiceUninstall", "ServiceInstall", "ServiceStart"]);
        // Files go at 3500 and come at 4000; all is over at 6600.
        assert!(order[1].0 < 3500 && order[2].0 > 4000 && order[3].0 < 6600, "{order:?}");
    }

    #[test]
    fn another_build_of_the_same_version_takes_the_place_of_the_one_that_is_there() {
        let script = script(&["a.rhai".to_owned()]).unwrap();
        let product = script.split("<Product ").nth(1).unwrap();
        let code = format!("{{{}}}", attribute(product, "UpgradeCode"));
        let query = QUERIES.iter().find(|query| query.starts_with("INSERT INTO `Upgrade`")).unwrap();
        assert!(query.contains(&format!("'{code}', '0.0.0', '{{version}}', {}", 0x100 + 0x200)), "{query}");
    }

    /// The lines `Name: value` of a manifest that are not part of anything else, and those of its one installer.
    fn fields(text: &str) -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let plain = |name: &str| name.trim_start_matches([' ', '-']).to_owned();
        lines.map(|(name, value)| (plain(name), value.trim_matches('\'').to_owned())).collect()
    }

    #[test]
    fn the_manifests_for_winget_are_such_as_winget_takes() {
        let product = format!("{{{}}}", guid(DIGEST));
        let digest = DIGEST.to_ascii_uppercase();
        let values = [("{version}", "2.0.0"), ("{sha256}", &digest), ("{product}", &product)];
        let mut kinds = BTreeMap::new();
        for file in files(&cargo::workspace().join("packaging/windows/winget")).unwrap() {
            let text = filled(&fs::read_to_string(&file).unwrap(), &values).unwrap();
            let fields = fields(&text);
            // All three say which package it is, in the same words, and are called by it.
            assert_eq!(fields["PackageIdentifier"], "keyrx.keyrx");
            assert_eq!(fields["PackageVersion"], "2.0.0");
            assert_eq!(fields["ManifestVersion"], "1.6.0");
            let kind = fields["ManifestType"].clone();
            let end = match kind.as_str() {
                "version" => String::new(),
                "installer" => ".installer".to_owned(),
                "defaultLocale" => format!(".locale.{}", fields["PackageLocale"]),
                other => panic!("no kind of manifest: {other}"),
            };
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(name, format!("keyrx.keyrx{end}.yaml"));
            kinds.insert(kind, fields);
        }
        let [locale, installer, version] = ["defaultLocale", "installer", "version"].map(|kind| &kinds[kind]);
        assert_eq!(version["DefaultLocale"], locale["PackageLocale"]);
        assert!((3..=256).contains(&locale["ShortDescription"].chars().count()));
        for needed in ["Publisher", "PackageName", "License"] {
            assert!(!locale[needed].is_empty(), "{needed}");
        }
        assert_eq!(installer["Architecture"], "x64");
        assert_eq!((installer["InstallerType"].as_str(), installer["Scope"].as_str()), ("wix", "machine"));
        let url = &installer["InstallerUrl"];
        assert!(url.starts_with("https://") && url.ends_with("/keyrx-2.0.0-x64.msi"), "{url}");
        assert_eq!((&installer["InstallerSha256"], &installer["ProductCode"]), (&digest, &product));
    }

    #[test]
    fn a_template_with_a_name_that_has_no_value_is_an_error() {
        assert_eq!(filled("A: {a}", &[("{a}", "1")]).unwrap(), "A: 1");
        assert!(filled("A: {a}\nB: {b}", &[("{a}", "1")]).is_err());
    }
}
