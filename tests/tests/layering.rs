//! Holds the shape of the project: the crate table of docs/architecture.md, what root code links, where unsafe may be,
//! how long a file may grow, and that every row of docs/threats.md names a test that exists.
//!
//! In: the manifests, the sources, the docs. Out: a failed test that says what moved. Runs as: anybody.

#![expect(clippy::expect_used, clippy::panic, reason = "a test program: a panic is a failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate, the crates of ours that it may use, and whether anything it links may be asynchronous.
struct Row {
    name: &'static str,
    may_use: &'static [&'static str],
    asynchronous: bool,
}

/// docs/architecture.md "Programs, crates, privileges".
const TABLE: [Row; 10] = [
    Row { name: "elevate-protocol", may_use: &[], asynchronous: false },
    Row { name: "elevate-policy", may_use: &["elevate-protocol"], asynchronous: false },
    Row { name: "elevate-audit", may_use: &["elevate-protocol"], asynchronous: false },
    Row {
        name: "elevate-daemon",
        may_use: &["elevate-protocol", "elevate-policy", "elevate-audit"],
        asynchronous: true,
    },
    Row { name: "elevate-agent", may_use: &["elevate-protocol"], asynchronous: false },
    Row { name: "elevate-link", may_use: &["elevate-protocol"], asynchronous: true },
    Row { name: "elevate-principals", may_use: &["elevate-protocol"], asynchronous: false },
    Row { name: "pam-elevate", may_use: &["elevate-protocol"], asynchronous: false },
    Row { name: "elevate", may_use: &["elevate-protocol"], asynchronous: true },
    Row { name: "elevate-tests", may_use: &["elevate-protocol"], asynchronous: false },
];

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_path_buf()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

/// What one crate links, built by itself as `make release` builds root code: features that others turn on do not count.
fn linked(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        // A person's own setting for their builds says nothing about what is shipped.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .args(["tree", "--package", name, "--edges", "normal,no-proc-macro", "--prefix", "none", "--locked"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    lines
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|found| *found != name)
        .map(str::to_owned)
        .collect()
}

fn sources() -> Vec<PathBuf> {
    let output = Command::new("find")
        .arg(root())
        .args(["-name", "*.rs", "-not", "-path", "*/target/*"])
        .output()
        .expect("find runs");
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

#[test]
fn every_crate_uses_only_what_the_table_allows() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
    let members: BTreeSet<String> = list(&metadata, "workspace_members")
        .iter()
        .map(|id| {
            let package =
                list(&metadata, "packages").iter().find(|p| p["id"] == *id).expect("a member is a package");
            text(package, "name").to_owned()
        })
        .collect();
    assert_eq!(
        members,
        ours.iter().map(ToString::to_string).collect(),
        "crates and docs/architecture.md differ"
    );
    for row in &TABLE {
        let package = list(&metadata, "packages")
            .iter()
            .find(|package| text(package, "name") == row.name)
            .expect("the crate is there");
        for dependency in list(package, "dependencies") {
            let name = text(dependency, "name");
            let allowed = !ours.contains(name) || row.may_use.contains(&name);
            assert!(allowed, "{} must not use {name}", row.name);
        }
        let tokio = linked(row.name).contains("tokio");
        assert!(row.asynchronous || !tokio, "{} must not link an asynchronous runtime", row.name);
    }
}

#[test]
fn what_root_code_links_is_the_checked_in_list() {
    for name in ["elevate-agent", "pam-elevate"] {
        let file = root().join("docs/dependencies").join(format!("{name}.txt"));
        let listed = std::fs::read_to_string(&file).unwrap_or_default();
        let listed: BTreeSet<&str> = listed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let linked = linked(name);
        let linked: BTreeSet<&str> = linked.iter().map(String::as_str).collect();
        let new: Vec<_> = linked.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&linked).collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "{}: not listed {new:?}, listed but not linked {gone:?}; argue for each new one there",
            file.display()
        );
    }
}

#[test]
fn unsafe_is_in_the_ffi_of_the_pam_module_only() {
    for path in sources() {
        let shown = path.strip_prefix(root()).expect("below the workspace").display().to_string();
        let source = std::fs::read_to_string(&path).expect("a source is readable");
        let is_root = shown.ends_with("src/lib.rs") || shown.ends_with("src/main.rs");
        if shown.starts_with("pam-module/src/ffi") {
            continue;
        }
        let uses = source.lines().map(str::trim_start).any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
                || code.contains("unsafe extern")
        });
        assert!(!uses || shown.ends_with("layering.rs"), "{shown} uses unsafe");
        if is_root && !shown.starts_with("pam-module/") {
            assert!(source.contains("#![forbid(unsafe_code)]"), "{shown} does not forbid unsafe code");
        }
    }
}

#[test]
fn the_pam_module_has_no_threads_and_no_standard_output() {
    let folder = root().join("pam-module/src");
    let all: Vec<PathBuf> = sources().into_iter().filter(|path| path.starts_with(&folder)).collect();
    // A file of tests is one that a source names behind its `#[cfg(test)]`.
    let tests: BTreeSet<String> = all
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter_map(|source| {
            source.split_once("#[cfg(test)]\n#[path = \"")?.1.split('"').next().map(str::to_owned)
        })
        .collect();
    let is_of_tests =
        |path: &Path| path.file_name().is_some_and(|name| tests.contains(&*name.to_string_lossy()));
    for path in all.iter().filter(|path| !is_of_tests(path)) {
        let source = std::fs::read_to_string(path).expect("a source is readable");
        let before_tests = source.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["thread::spawn", "println!", "print!(", "std::process::exit", "env::var"] {
            assert!(!before_tests.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn no_file_grows_beyond_its_ceiling() {
    let long: Vec<String> = sources()
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            (lines > LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:#?}");
}

/// Rows look like `| A01 | … | `path::test_name`, … |`; a row without a test says `–` and why.
#[test]
fn every_row_of_the_threats_names_tests_that_exist() {
    let table = std::fs::read_to_string(root().join("docs/threats.md")).expect("docs/threats.md is there");
    let all: String = sources().iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let mut rows = 0;
    for line in table
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes().get(3).is_some_and(u8::is_ascii_digit))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, .., tests] = cells.as_slice() else { panic!("not a row: {line}") };
        rows += 1;
        if let Some(why) = tests.strip_prefix('–') {
            assert!(why.len() > 10, "{id} has no test and does not say why");
            continue;
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{id} names no test");
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            assert!(all.contains(&format!("fn {function}(")), "{id}: there is no test {name}");
        }
    }
    assert!(rows >= 30, "only {rows} rows were read");
}
