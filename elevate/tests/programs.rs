//! The built programs as they are started: help, exit codes, a reader who goes away, nothing set up.
//!
//! In: words. Out: what a shell sees. Runs as: whoever tests; needs no daemon and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::io::Read;
use std::process::{Command, Output, Stdio};

const ELEVATE: &str = env!("CARGO_BIN_EXE_elevate");
const ELEVATECTL: &str = env!("CARGO_BIN_EXE_elevatectl");

fn run(program: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(program)
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_are_data() {
    for program in [ELEVATE, ELEVATECTL] {
        for word in ["--help", "--version"] {
            let output = run(program, &[word], &[]);
            assert_eq!((exit(&output), err(&output).as_str()), (0, ""), "{program} {word}");
            assert!(!output.stdout.is_empty());
        }
    }
}

/// "piped to `head` panic on EPIPE": not here.
#[test]
fn a_reader_who_goes_away_is_no_panic() {
    let mut child = Command::new(ELEVATE)
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(0), ""));
}

#[test]
fn usage_errors_exit_2_and_say_so_on_stderr_only() {
    for words in [&["web-ops", "-d", "90"][..], &["approve"], &["list", "--format", "xml"], &["UPPER"]] {
        let output = run(ELEVATE, words, &[]);
        assert_eq!(exit(&output), 2, "{words:?}");
        assert!(output.stdout.is_empty() && err(&output).starts_with("error:"), "{words:?}");
    }
    let output = run(ELEVATECTL, &["revoke", "-m", "why"], &[]);
    assert_eq!(exit(&output), 2);
    let output = run(ELEVATECTL, &["revoke", "--person", "alice", "--role", "dba", "-m", "why"], &[]);
    assert_eq!(exit(&output), 2);
    let output = run(ELEVATE, &["list"], &[("ELEVATE_DURATION", "90")]);
    assert_eq!(exit(&output), 2);
    assert!(err(&output).contains("ELEVATE_DURATION"));
}

#[test]
fn run_fails_with_125_and_the_commands_own_absence_with_127() {
    let output = run(ELEVATE, &["run", "web-ops", "--", "/no/such/program"], &[]);
    assert_eq!(exit(&output), 127, "{}", err(&output));
    let output = run(ELEVATE, &["run", "web-ops", "--", "/etc/passwd"], &[]);
    assert_eq!(exit(&output), 126, "{}", err(&output));
    if !std::path::Path::new("/run/elevate/agent.sock").exists() {
        let output = run(ELEVATE, &["run", "web-ops", "--format", "json", "--", "/bin/true"], &[]);
        assert_eq!(exit(&output), 125, "{}", err(&output));
        let value: serde_json::Value = serde_json::from_str(&err(&output)).unwrap();
        assert_eq!(
            (&value["schema"], &value["code"], &value["exit"]),
            (&"elevate.refusal/1".into(), &"wrong-door".into(), &3.into())
        );
    }
}

#[test]
fn the_daemons_socket_that_is_not_there_is_exit_8() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let output = run(ELEVATECTL, &["--socket", socket.to_str().unwrap(), "host", "list"], &[]);
    assert_eq!(exit(&output), 8, "{}", err(&output));
}
/// B01: no variable of the environment leads to another socket or daemon.
#[test]
fn b01_the_environment_chooses_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let squatter = std::os::unix::net::UnixListener::bind(&path).unwrap();
    squatter.set_nonblocking(true).unwrap();
    let path = path.to_str().unwrap();
    let here = folder.path().to_str().unwrap();
    let variables = [
        ("ELEVATE_SOCKET", path),
        ("ELEVATE_AGENT", path),
        ("XDG_RUNTIME_DIR", here),
        ("XDG_CONFIG_HOME", here),
        ("ELEVATE_SERVER", "127.0.0.1:1"),
    ];
    let output = Command::new(ELEVATE)
        .arg("whoami")
        .env_clear()
        .envs(variables)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // Refused as a daemon that is not pinned, before any connection.
    assert_eq!(exit(&output), 2, "{}", err(&output));
    assert!(err(&output).contains("ELEVATE_SERVER=127.0.0.1:1"), "{}", err(&output));
    assert_eq!(squatter.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn completions_need_no_daemon_and_the_shells_take_them() {
    for program in [ELEVATE, ELEVATECTL] {
        for shell in ["bash", "zsh", "fish"] {
            let output = run(program, &["completion", shell], &[]);
            assert_eq!((exit(&output), err(&output).as_str()), (0, ""), "{program} {shell}");
            assert!(output.stdout.len() > 1000);
        }
        let script = run(program, &["completion", "bash"], &[]).stdout;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("completion");
        std::fs::write(&file, script).unwrap();
        let output = run("/bin/bash", &["-n", file.to_str().unwrap()], &[]);
        assert_eq!((exit(&output), err(&output).as_str()), (0, ""), "{program}");
    }
    assert_eq!(exit(&run(ELEVATE, &["completion", "tcsh"], &[])), 2);
}
