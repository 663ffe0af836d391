//! Windows: a toolchain that builds for it, and what is done with it.
//!
//! The target comes from rustup. Where rustup cannot have it, Debian's rustc is unpacked into the cache, which builds
//! the standard library itself. Builds have a target directory of their own beside the host's.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Profile};
use crate::installer;
use crate::setup::{self, Packages};
use crate::test::Outcome;
use crate::wine::{self, Wine};

const TARGET: &str = "x86_64-pc-windows-gnu";

/// The linker and what it needs.
const PACKAGES: &[&str] = &["binutils-mingw-w64-x86-64", "gcc-mingw-w64-x86-64"];

/// What is not for Windows.
const OTHERS: &[&str] = &["--exclude", "keyrx-linux-tests", "--exclude", "xtask"];

/// The linker of what is shipped. It gets paths that are the same wherever things lie: ld sorts what is imported by the
/// paths of the libraries.
const LINKER: &str = r#"#!/bin/bash
cd "${0%/*}" || exit
for place in cargo rust target; do
    set -- "${@/#"$(readlink "$place")"/$place}"
done
exec x86_64-w64-mingw32-gcc "$@"
"#;

/// How long rustup may take to get the target.
const DOWNLOAD_LIMIT_S: &str = "300";
/// How long the unit tests may take: a process for each, a tenth of a second.
const UNIT_LIMIT_S: u32 = 600;

/// Clippy, the unit tests of all crates, and the cases with a real hook.
pub fn test() -> Result<Outcome> {
    let toolchain = match Toolchain::get(&[PACKAGES, installer::PACKAGES, wine::PACKAGES].concat())? {
        Ok(toolchain) => toolchain,
        Err(why) => return Ok(Outcome::Unprepared(why)),
    };
    let lint = toolchain.lint();
    toolchain.build_unit_tests()?;
    let (keyrx, cases) = toolchain.build_cases()?;
    let installers = installers(&keyrx)?;
    // Now that nothing takes minutes any more: a Windows without programs ends.
    let wine = Wine::start()?;
    let unit = toolchain.unit(&wine);
    let cases = wine.cases(&cases, &keyrx, &installers, &[]);
    lint.and(unit).and(cases).map(|()| Outcome::Passed)
}

/// Only the cases whose names contain one of the words.
pub fn cases(words: &[&str]) -> Result<Outcome> {
    let toolchain = match Toolchain::get(&[PACKAGES, installer::PACKAGES, wine::PACKAGES].concat())? {
        Ok(toolchain) => toolchain,
        Err(why) => return Ok(Outcome::Unprepared(why)),
    };
    let (keyrx, cases) = toolchain.build_cases()?;
    let installers = installers(&keyrx)?;
    Wine::start()?.cases(&cases, &keyrx, &installers, words).map(|()| Outcome::Passed)
}

/// What is to be built of what is shipped.
#[derive(Debug, PartialEq, Eq)]
pub struct Dist {
    has_program: bool,
    has_installer: bool,
    has_archive: bool,
    is_twice: bool,
    /// The program to pack, such as a signed one, instead of building it.
    program: Option<PathBuf>,
}

impl Dist {
    /// As the command line says it.
    pub fn parse(words: &[&str]) -> Option<Dist> {
        let (mut part, mut is_twice, mut program) = (None, false, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--twice" => is_twice = true,
                "--program" => program = Some(PathBuf::from(words.next()?)),
                word if part.is_none() => part = Some(word),
                _ => return None,
            }
        }
        let [has_program, has_installer, has_archive] = match part {
            None => [program.is_none(), true, true],
            Some("windows") if program.is_none() => [true, false, false],
            Some("msi") => [false, true, false],
            Some("zip") => [false, false, true],
            Some(_) => return None,
        };
        Some(Dist { has_program, has_installer, has_archive, is_twice, program })
    }
}

/// Builds what is shipped, and builds it a second time at another place if so asked: the bytes have to be the same.
pub fn dist(dist: Dist) -> Result<Outcome> {
    let toolchain = match &dist.program {
        Some(_) => match setup::debian(installer::PACKAGES)? {
            Packages::Ready => None,
            Packages::Missing(command) => return Ok(Outcome::Unprepared(format!("please run: {command}"))),
        },
        None => match Toolchain::get(&[PACKAGES, installer::PACKAGES].concat())? {
            Ok(toolchain) => Some(toolchain),
            Err(why) => return Ok(Outcome::Unprepared(why)),
        },
    };
    let program = match (&toolchain, dist.program) {
        (Some(toolchain), None) => toolchain.build("keyrx", Profile::Release)?,
        (_, program) => program.context("a program is built or given")?,
    };
    let place = target().join("dist");
    let (msi, zip) = installer::build(&program, &version()?, &place)?;
    if dist.is_twice {
        let copy = Copy::of_the_checkout()?;
        let again = match &toolchain {
            Some(toolchain) if dist.has_program => {
                toolchain.build_at(&copy.path, &copy.path.join("target"), "keyrx", Profile::Release)?
            }
            _ => program.clone(),
        };
        let (msi_again, zip_again) = installer::build(&again, &version()?, &copy.path.join("dist"))?;
        for (one, other) in [(&program, &again), (&msi, &msi_again), (&zip, &zip_again)] {
            let digests = (sha256(one)?, sha256(other)?);
            ensure!(digests.0 == digests.1, "made again, {} has other bytes: {digests:?}", one.display());
        }
        println!("made again in {}: the same bytes", copy.path.display());
    }
    for (file, is_wanted) in [(program, dist.has_program), (msi, dist.has_installer), (zip, dist.has_archive)]
    {
        if is_wanted {
            let size = fs::metadata(&file)?.len();
            println!("{}\n{size} bytes\nsha256 {}", file.display(), sha256(&file)?);
        }
    }
    Ok(Outcome::Passed)
}

/// Installers of the same program, and where they are. The second is of a later version, and the third is another build
/// of that: Windows Installer does not look at a fourth number.
fn installers(program: &Path) -> Result<PathBuf> {
    let place = target().join("installers");
    for version in ["2.0.0", "2.0.1", "2.0.1.1"] {
        installer::build(program, version, &place)?;
    }
    Ok(place)
}

/// The version of keyrx as Windows Installer has it: three numbers.
fn version() -> Result<String> {
    let manifest = fs::read_to_string(cargo::workspace().join("Cargo.toml"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = version.context("the workspace has a version")?.trim_end_matches('"');
    Ok(version.split('-').next().unwrap_or_default().to_owned())
}

/// What builds for Windows.
enum Toolchain {
    /// The one that runs us; it has the target.
    Ours,
    /// Debian's rustc, unpacked into this directory.
    Debian(PathBuf),
}

impl Toolchain {
    /// A toolchain and these packages, or what the user has to do to get them.
    fn get(packages: &[&str]) -> Result<Result<Toolchain, String>> {
        if let Packages::Missing(command) = setup::debian(packages)? {
            return Ok(Err(format!("please run: {command}")));
        }
        if has_target() {
            return Ok(Ok(Toolchain::Ours));
        }
        match unpacked() {
            Some(directory) => return Ok(Ok(Toolchain::Debian(directory))),
            None if add_target() && has_target() => return Ok(Ok(Toolchain::Ours)),
            None => {}
        }
        let debian = unpack().map(Toolchain::Debian);
        Ok(debian
            .map_err(|error| format!("please run: rustup target add {TARGET} (Debian's rustc: {error:#})")))
    }

    fn lint(&self) -> Result<()> {
        let mut command = match self {
            Toolchain::Ours => cargo::command(&["clippy"]),
            // Its clippy looks for the compiler's part beside itself.
            Toolchain::Debian(root) => {
                let mut command = Command::new(root.join("usr/bin/cargo-clippy"));
                command.arg("clippy").current_dir(cargo::workspace());
                command
            }
        };
        self.prepare(&mut command, &target());
        command.args(["--workspace", "--all-targets"]).args(OTHERS).args(["--", "--deny", "warnings"]);
        run(&mut command)
    }

    fn build_unit_tests(&self) -> Result<()> {
        let mut command = cargo::command(&["test", "--no-run"]);
        self.unit_tests(&mut command);
        run(&mut command)
    }

    /// The unit tests of all crates, under Wine.
    fn unit(&self, wine: &Wine) -> Result<()> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &UNIT_LIMIT_S.to_string()]);
        command.arg(cargo::command(&[]).get_program()).current_dir(cargo::workspace());
        wine.settings(&mut command);
        command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", wine::LOADER);
        if cargo::has("nextest") {
            // It reads cargo's metadata, and under Wine there is no cargo.
            command.args(["nextest", "run", "--no-fail-fast", "--filterset", "not binary(dependencies)"]);
        } else {
            command.args(["test", "--no-fail-fast", "--lib", "--bins"]);
        }
        self.unit_tests(&mut command);
        run(&mut command)
    }

    /// Adds to a command which tests are meant.
    fn unit_tests(&self, command: &mut Command) {
        self.prepare(command, &target());
        command.arg("--workspace").args(OTHERS).args(["--exclude", "keyrx-windows-tests"]);
    }

    /// The release keyrx, and what tests it.
    fn build_cases(&self) -> Result<(PathBuf, PathBuf)> {
        Ok((self.build("keyrx", Profile::Release)?, self.build("keyrx-windows-tests", Profile::Dev)?))
    }

    /// Builds the program of a package and gives its path.
    fn build(&self, package: &str, profile: Profile) -> Result<PathBuf> {
        self.build_at(&cargo::workspace(), &target(), package, profile)
    }

    fn build_at(&self, workspace: &Path, target: &Path, package: &str, profile: Profile) -> Result<PathBuf> {
        let mut command = cargo::command(&["build", "--package", package]);
        self.prepare(command.current_dir(workspace), target);
        let folder = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                self.reproduce(command.arg("--release"), workspace, target)?;
                "release"
            }
        };
        run(&mut command)?;
        let program = target.join(TARGET).join(folder).join(package).with_extension("exe");
        ensure!(program.is_file(), "cargo built {package}, but {} is not there", program.display());
        Ok(program)
    }

    /// Makes the same bytes of the same sources, wherever they and the toolchain lie, and whenever it is.
    fn reproduce(&self, command: &mut Command, workspace: &Path, target: &Path) -> Result<()> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let home = home.context("no CARGO_HOME and no HOME")?;
        let sysroot = self.sysroot()?;
        let place = target.join("linker");
        fs::create_dir_all(&place)?;
        let mut flags = OsString::from("-Clink-arg=-Wl,--no-insert-timestamp");
        for (path, name) in [(&*home, "cargo"), (&*sysroot, "rust"), (workspace, "keyrx"), (target, "target")]
        {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(path);
            flags.push(format!("=/{name}"));
            let link = place.join(name);
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(path, link)?;
        }
        let linker = place.join("relative-gcc"); // by the end of its name rustc knows its manners
        fs::write(&linker, LINKER)?;
        fs::set_permissions(&linker, Permissions::from_mode(0o755))?;
        command.env("CARGO_ENCODED_RUSTFLAGS", flags);
        command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", linker);
        Ok(())
    }

    /// Where the toolchain lies.
    fn sysroot(&self) -> Result<PathBuf> {
        if let Toolchain::Debian(root) = self {
            return Ok(root.join("usr"));
        }
        let sysroot = rustc().args(["--print", "sysroot"]).output().context("rustc cannot be started")?;
        Ok(PathBuf::from(String::from_utf8(sysroot.stdout)?.trim()))
    }

    /// Makes a cargo command one for Windows.
    fn prepare(&self, command: &mut Command, target: &Path) {
        command.args(["--target", TARGET, "--target-dir"]).arg(target);
        // The crate const-random seeds rhai's hash tables; it would roll dice in each build.
        command.env("CONST_RANDOM_SEED", "keyrx");
        if let Toolchain::Debian(root) = self {
            let program = |name| root.join("usr/bin").join(name);
            command.arg("-Zbuild-std=std,panic_unwind,test").env("RUSTC_BOOTSTRAP", "1");
            command.env("RUSTC", program("rustc")).env("RUSTDOC", program("rustdoc"));
            command.env("LD_LIBRARY_PATH", root.join(LIBRARIES));
        }
    }
}

/// Where builds for Windows go.
fn target() -> PathBuf {
    cargo::target().join("windows")
}

fn run(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("$ {line}");
    let status = command.status().with_context(|| format!("{line}: cannot be started"))?;
    ensure!(status.success(), "{line}: ended with {status}");
    Ok(())
}

/// The compiler of our toolchain.
fn rustc() -> Command {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(cargo::workspace());
    rustc
}

/// Whether our toolchain has a standard library for Windows.
fn has_target() -> bool {
    let output = rustc().args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// Asks rustup for it. Whether it said that it did.
fn add_target() -> bool {
    let mut rustup = Command::new("timeout");
    rustup.args([DOWNLOAD_LIMIT_S, "rustup", "target", "add", TARGET]).current_dir(cargo::workspace());
    println!("$ rustup target add {TARGET}");
    rustup.status().is_ok_and(|status| status.success())
}

/// Where Debian's libraries are, among them rustc's.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The directory in the cache that is filled, or not there.
fn directory(version: &str) -> Result<PathBuf> {
    Ok(setup::cache()?.join(format!("windows-rustc-{version}")))
}

/// Debian's rustc as it was unpacked before.
fn unpacked() -> Option<PathBuf> {
    let directory = directory(&field("rustc-web", "Version")?).ok()?;
    directory.is_dir().then_some(directory)
}

/// Unpacks Debian's rustc, its libraries and the source of the standard library, and installs nothing.
fn unpack() -> Result<PathBuf> {
    let cache = setup::cache()?;
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("windows-rustc.lock"))?;
    lock.lock()?; // for one at a time; the system opens it again when we die
    if let Some(directory) = unpacked() {
        return Ok(directory);
    }
    println!("unpacking Debian's rustc into the cache, once");
    // The lists may be missing or old. Who may not renew them goes on with those that there are.
    let mut update = Command::new("apt-get");
    let _ = update.args(["update", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let development = "libstd-rust-web-dev";
    let library = depends(development, "libstd-rust-web-")?;
    let llvm = depends(&library, "libllvm")?;
    let directory = directory(&field("rustc-web", "Version").context("Debian has no rustc-web")?)?;
    let building = cache.join("windows-rustc.building");
    if building.exists() {
        fs::remove_dir_all(&building)?; // what an interrupted attempt has left
    }
    fs::create_dir(&building)?;
    let packages = ["rustc-web", development, &library, &llvm, "rust-web-src", "rust-web-clippy"];
    run(Command::new("apt-get").args(["download", "--quiet"]).args(packages).current_dir(&building))?;
    for file in fs::read_dir(&building)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("--extract").arg(&file).arg(&building))?;
            fs::remove_file(file)?;
        }
    }
    gather_llvm(&building)?;
    fs::rename(&building, &directory)?;
    Ok(directory)
}

/// Makes one directory of libraries: some versions of LLVM lie in one of their own.
fn gather_llvm(root: &Path) -> Result<()> {
    for directory in fs::read_dir(root.join("usr/lib"))? {
        let directory = directory?;
        if directory.file_name().to_string_lossy().starts_with("llvm-") {
            for library in fs::read_dir(directory.path().join("lib"))? {
                let library = library?;
                let place = root.join(LIBRARIES).join(library.file_name());
                if !place.exists() {
                    fs::rename(library.path(), place)?;
                }
            }
        }
    }
    Ok(())
}

/// What Debian says of a package that can be installed.
fn field(package: &str, name: &str) -> Option<String> {
    let show = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output().ok()?;
    let said = String::from_utf8(show.stdout).ok()?;
    said.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// The package that another one depends on, by how its name begins.
fn depends(package: &str, begin: &str) -> Result<String> {
    let all = field(package, "Depends").with_context(|| format!("Debian has no {package}"))?;
    let names = all.split([',', '|']).filter_map(|dependency| dependency.split_whitespace().next());
    let found = names.into_iter().find(|name| name.starts_with(begin));
    Ok(found.with_context(|| format!("{package} depends on no {begin}"))?.to_owned())
}

pub fn sha256(file: &Path) -> Result<String> {
    let sum = Command::new("sha256sum").arg(file).output().context("sha256sum cannot be started")?;
    let said = String::from_utf8(sum.stdout)?;
    match said.split_once(' ') {
        Some((digest, _)) => Ok(digest.to_owned()),
        None => bail!("sha256sum said {said:?}"),
    }
}

/// The checkout at another place, gone when dropped.
struct Copy {
    path: PathBuf,
}

impl Copy {
    /// With everything that git tracks or would, as it lies here now.
    fn of_the_checkout() -> Result<Copy> {
        let copy =
            Copy { path: std::env::temp_dir().join(format!("keyrx-elsewhere-{}", std::process::id())) };
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let files = list.current_dir(cargo::workspace()).output().context("git cannot be started")?;
        for file in String::from_utf8(files.stdout)?.split_terminator('\0') {
            let (from, to) = (cargo::workspace().join(file), copy.path.join(file));
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a file has a parent")?)?;
                fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
            }
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_told_by_part_and_a_given_program_is_not_built() {
        let check = |line: &str, parts, is_twice, program: Option<&str>| {
            let dist = Dist::parse(&line.split_whitespace().collect::<Vec<_>>());
            let [has_program, has_installer, has_archive] = parts;
            let program = program.map(PathBuf::from);
            let wanted = Dist { has_program, has_installer, has_archive, is_twice, program };
            assert_eq!(dist, Some(wanted), "{line}");
        };
        check("", [true, true, true], false, None);
        check("--twice", [true, true, true], true, None);
        check("windows --twice", [true, false, false], true, None);
        check("msi --program signed.exe", [false, true, false], false, Some("signed.exe"));
        check("--program signed.exe", [false, true, true], false, Some("signed.exe"));
        for wrong in ["deb", "msi zip", "msi --program", "windows --program signed.exe"] {
            let words = wrong.split_whitespace().collect::<Vec<_>>();
            assert_eq!(Dist::parse(&words), None, "{wrong}");
        }
    }
}
