//! `elevated` as a program: what it says, its exit codes, what it leaves behind.
//!
//! In: a folder of its own for each test. Out: asserted text, codes, files. Runs as: whoever runs the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

fn elevated(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elevated"));
    command.arg("--config").arg(place.join("etc/daemon.toml"));
    command
}

fn init(place: &Path, more: &[&str]) -> Output {
    let user = User::from_uid(geteuid()).unwrap().unwrap().name;
    elevated(place)
        .args(more)
        .args(["init", "--address", "daemon.example:7022", "--listen", "127.0.0.1:0", "--user", &user])
        .arg("--data-dir")
        .arg(place.join("lib"))
        .arg("--admin-socket")
        .arg(place.join("admin.sock"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn init_says_nothing_on_standard_error_and_keeps_the_database_private() {
    let place = tempfile::tempdir().unwrap();
    let made = init(place.path(), &[]);
    assert_eq!((made.status.code(), text(&made.stderr).as_str()), (Some(0), ""));
    assert!(text(&made.stdout).contains("elevatectl host invite web1 --label env=prod"));
    for entry in std::fs::read_dir(place.path().join("lib")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{:?}", entry.path());
    }
    let again = init(place.path(), &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("nothing was changed"), "{}", text(&again.stderr));
}

#[test]
fn check_config_only_looks_whatever_else_is_said() {
    let place = tempfile::tempdir().unwrap();
    let looked = init(place.path(), &["--check-config"]);
    assert_eq!(looked.status.code(), Some(2), "there is no configuration");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_policy_that_is_none_is_told_in_lines_by_check_and_by_run() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(init(place.path(), &[]).status.code(), Some(0));
    std::fs::write(place.path().join("etc/policy.d/main.toml"), "[people]\nalice = { kees = [] }\n").unwrap();
    for command in [&["--check-config"][..], &["run"]] {
        let ended = elevated(place.path()).args(command).output().unwrap();
        let said = text(&ended.stderr);
        assert!(!ended.status.success(), "{command:?}");
        assert!(said.lines().any(|line| line.contains("main.toml:2:") && line.contains("error:")), "{said}");
        assert!(!said.contains("\\n") && said.lines().any(|line| line.starts_with("  hint: ")), "{said}");
    }
}

#[test]
fn r25_check_config_says_that_a_backup_was_laid_back_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(init(place.path(), &[]).status.code(), Some(0));
    let check = || elevated(place.path()).arg("--check-config").output().unwrap();
    let looked = check();
    assert_eq!((looked.status.code(), text(&looked.stderr).as_str()), (Some(0), ""));
    let mut daemon = elevated(place.path()).arg("run").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready, listening on")), "it ended before it was ready");
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert_eq!(text(&check().stderr), "");
    // A machine that is set up anew from database and keys comes without it.
    std::fs::remove_file(place.path().join("lib/witness")).unwrap();
    let files = || {
        let entries = std::fs::read_dir(place.path().join("lib")).unwrap().map(Result::unwrap);
        // But for SQLite's shared memory, in which whoever reads says so, and which is nothing after a crash.
        let entries = entries.filter(|one| one.file_name() != "elevated.db-shm");
        let mut all: Vec<_> =
            entries.map(|one| (one.file_name(), one.metadata().unwrap().modified().unwrap())).collect();
        all.sort();
        all
    };
    let before = files();
    let looked = check();
    assert_eq!(looked.status.code(), Some(0));
    let said = text(&looked.stderr);
    assert!(said.starts_with("warning: the witness") && said.contains("elevatectl restore"), "{said}");
    assert_eq!(files(), before, "it only looks");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(init(place.path(), &[]).status.code(), Some(0));
    let mut first = elevated(place.path()).arg("run").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map(Result::unwrap).find(|line| line.contains("ready, listening on"));
    assert!(ready.is_some(), "it ended before it was ready");
    let second = elevated(place.path()).arg("run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another elevated works on"), "{}", text(&second.stderr));
    assert!(place.path().join("admin.sock").exists(), "the socket of the first is still there");
    kill(Pid::from_raw(first.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        !rest.iter().any(|line| line.contains("elevated: error") || line.contains("closed pool")),
        "{rest:?}"
    );
}
