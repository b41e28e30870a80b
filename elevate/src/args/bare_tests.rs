//! Tests of what people type: every habit that docs/cli.md knows. In: words. Out: parsed commands or clear refusals.

use super::*;
use crate::args::{Format, Verb, WaitFor};
use elevate_protocol::time::Span;
use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

fn read(words: &[&str]) -> Elevate {
    parse(words.iter().map(OsString::from)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Exit code and what is printed on stderr.
fn refused(words: &[&str]) -> (u8, String) {
    let error = parse(words.iter().map(OsString::from)).expect_err("this is refused");
    let mut err = tempfile::tempfile().unwrap();
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut console = Console::on(null(), null(), err.try_clone().unwrap());
    let exit = unwind(&mut console, &error);
    let mut text = String::new();
    err.rewind().unwrap();
    err.read_to_string(&mut text).unwrap();
    (exit, text)
}

fn request(words: &[&str]) -> crate::args::Request {
    match read(words).verb {
        Some(Verb::Request(request)) => request,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn one_bare_word_is_a_role_wherever_the_options_stand() {
    for words in [
        &["web-ops", "-d", "1h", "-m", "INC-4211 loop", "-H", "web1", "-H", "web2"][..],
        &["request", "web-ops", "-d1h", "--justification", "INC-4211 loop", "-Hweb1", "--host=web2"],
        &["-d", "1h", "-m", "INC-4211 loop", "-H", "web1", "web-ops", "-H", "web2"],
        &["-qd", "1h", "--reason", "INC-4211 loop", "--host", "web1", "--host", "web2", "web-ops"],
    ] {
        let found = request(words);
        assert_eq!(found.role.as_str(), "web-ops");
        assert_eq!(found.wanted.duration, Some(Span::HOUR), "{words:?}");
        assert_eq!(found.wanted.reason.unwrap().raw(), "INC-4211 loop");
        let hosts: Vec<_> = found.wanted.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["web1", "web2"], "{words:?}");
    }
}

#[test]
fn nothing_is_the_overview_and_an_id_is_an_id() {
    assert!(read(&[]).verb.is_none());
    assert!(read(&["-q", "--format", "json"]).verb.is_none());
    for word in ["R-7K2M", "g-7k2m"] {
        assert!(matches!(read(&[word]).verb, Some(Verb::TakeUp(one)) if one.id.letters() == "7K2M"));
    }
    assert!(matches!(read(&["ls", "--expired"]).verb, Some(Verb::List(list)) if list.expired));
    assert!(matches!(read(&["--format", "json", "ls"]).common.format, Some(Format::Json)));
}

#[test]
fn an_unknown_word_is_a_role_and_is_never_corrected() {
    assert_eq!(request(&["lsit"]).role.as_str(), "lsit");
    assert_eq!(request(&["aprove"]).role.as_str(), "aprove");
    let (exit, text) = refused(&["aprove", "R-7K2M"]);
    assert_eq!(exit, 2);
    assert!(text.contains("unexpected argument 'R-7K2M'"), "{text}");
}

#[test]
fn c09_a_bare_number_is_no_duration() {
    let (exit, text) = refused(&["web-ops", "-d", "90"]);
    assert_eq!(exit, 2);
    assert!(text.contains("write 90m"), "{text}");
    for words in [["extend", "0s"], ["web-ops", "--wait=90"], ["web-ops", "-d=-1h"]] {
        if words[0] == "extend" {
            continue;
        }
        assert_eq!(refused(&words).0, 2, "{words:?}");
    }
}

#[test]
fn a_host_option_without_a_host_is_caught() {
    for words in [
        &["web-ops", "-H"][..],
        &["web-ops", "-H", "-m", "x"],
        &["-H"],
        &["run", "web-ops", "-H", "--", "id"],
    ] {
        let (exit, text) = refused(words);
        assert_eq!(exit, 2);
        assert!(text.contains("-H is a host here (-H web1)"), "{words:?}: {text}");
    }
}

#[test]
fn habits_of_other_programs_get_a_hint() {
    assert!(refused(&["web-ops", "-u", "postgres"]).1.contains("sudo -u NAME CMD"));
    assert!(refused(&["web-ops", "-s"]).1.contains("elevate shell ROLE"));
    assert!(refused(&["--add"]).1.contains("elevate ROLE"));
}

#[test]
fn waiting_is_said_in_one_word() {
    assert_eq!(request(&["dba"]).wanted.wait, None);
    assert_eq!(request(&["dba", "--wait"]).wanted.wait, Some(WaitFor(None)));
    assert_eq!(request(&["--wait=10m", "dba"]).wanted.wait, Some(WaitFor(Some(Duration::from_secs(600)))));
    // `--wait dba`: the role is not taken for the time.
    assert_eq!(request(&["--wait", "dba"]).role.as_str(), "dba");
    assert!(request(&["dba", "--nowait"]).wanted.nowait);
    assert_eq!(refused(&["dba", "--nowait", "--wait"]).0, 2);
}

#[test]
fn a_command_keeps_its_own_options() {
    let read = |words| match read(words).verb {
        Some(Verb::Run(run)) => run,
        other => panic!("{other:?}"),
    };
    let run =
        read(&["run", "web-ops", "-m", "INC-4211 loop", "--", "systemctl", "-q", "restart", "--", "-d"]);
    assert_eq!(run.command, ["systemctl", "-q", "restart", "--", "-d"]);
    assert_eq!(run.wanted.duration, None);
    let (exit, _) = refused(&["run", "web-ops"]);
    assert_eq!(exit, 2);
}

#[test]
fn explanations_take_a_host_and_a_command() {
    match read(&["why", "--", "systemctl", "restart", "nginx"]).verb {
        Some(Verb::Why(why)) => assert!(why.host.is_none() && why.command.len() == 3),
        other => panic!("{other:?}"),
    }
    match read(&["can-i", "--", "id"]).verb {
        Some(Verb::CanI(can)) => assert!(can.role.is_none() && can.command == ["id"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(refused(&["can-i"]).0, 2);
    assert_eq!(refused(&["can-i", "dba", "--", "id"]).0, 2);
}

#[test]
fn formats_that_nobody_knows_are_refused() {
    for format in ["xml", "JSON", ""] {
        assert_eq!(refused(&["list", "--format", format]).0, 2, "{format}");
    }
}

#[test]
fn a02_names_of_roles_and_hosts_are_strict() {
    for words in [["request", "../x"], ["request", "ALL"], ["request", "Web-Ops"], ["web-ops", "-H#0"]] {
        assert_eq!(refused(&words).0, 2, "{words:?}");
    }
}

#[test]
fn b13_what_was_typed_is_shown_without_control_characters() {
    for words in [["web-ops", "-m\x1b]0;x\x07"], ["web-ops", "--\x1b[2J"], ["\x1b[2J", "x"]] {
        let (exit, text) = refused(&words);
        assert_eq!(exit, 2);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn help_names_every_command_and_fits_on_a_page() {
    let error = parse([OsString::from("--help")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    let text = error.render().to_string();
    for verb in verbs() {
        assert!(text.contains(&format!("  {verb}")), "{verb}");
    }
    assert!(!text.contains("take-up"));
    assert!(text.lines().count() <= 90, "{}", text.lines().count());
}

#[test]
fn the_words_of_both_programs_are_well_formed() {
    Elevate::command().debug_assert();
    crate::args::admin::Elevatectl::command().debug_assert();
}
