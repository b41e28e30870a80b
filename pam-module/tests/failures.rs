//! The built module when memory, descriptors, the conversation or the agent fail: never a success, never a crash (threat B08).
//!
//! In: the .so that cargo built, a C program that asks PAM, a C library that lets malloc(3) fail. Out: pass or fail.
//! Runs as: root (mounts); the real /etc is not touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Stdio};

use elevate_protocol::frame;
use elevate_protocol::message::pam::ToChild;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

#[allow(dead_code, reason = "what the tests of real sudo use besides")]
mod site;

use site::{Site, UID, now, so};

/// Linux-PAM's pam_appl.h.
const AUTH_ERR: &str = "auth 7";
const AUTHINFO_UNAVAIL: &str = "auth 9";
const MAXTRIES: &str = "auth 11";
/// More calls than any phase makes.
const CALLS_MAX: u32 = 2000;

/// The stack of the threats' table: what ignores or permits beside us must not carry anybody through.
const STACK: &str =
    "auth required SO\nauth optional pam_permit.so\naccount required SO\naccount optional pam_permit.so\n";

/// A host whose services have the stack, with both C programs built.
fn starving() -> Site {
    let site = Site::new();
    let so = so();
    for service in ["elevate", "sudo"] {
        site.file(&format!("etc/pam.d/{service}"), &STACK.replace("SO", so.to_str().unwrap()), 0o644);
    }
    let cc = |name: &str, source: &str, arguments: &[&str]| {
        site.file(&format!("{name}.c"), source, 0o644);
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-o"]).arg(site.at(name)).arg(site.at(&format!("{name}.c"))).args(arguments);
        assert!(cc.status().unwrap().success(), "cc builds {name} (`make deps` installs it)");
    };
    cc("starve.so", include_str!("failures/starve.c"), &["-shared", "-fPIC", "-ldl"]);
    cc("caller", include_str!("failures/caller.c"), &["-lpam"]);
    site
}

fn frames(said: &[ToChild]) -> Vec<u8> {
    let mut bytes = Vec::new();
    said.iter().for_each(|message| frame::write(&mut bytes, message).unwrap());
    bytes
}

fn task() -> ToChild {
    ToChild::Task { prompt: UntrustedText::lossy("Code for nobody") }
}

fn verdict(accepted: bool, tries: u8) -> ToChild {
    ToChild::Verdict { accepted, tries, message: Some(UntrustedText::lossy("as the daemon says")) }
}

/// What one line of the loops' output says: the number of the run, its exit code, and what it said.
struct Run {
    exit: u32,
    said: String,
    starved: bool,
}

/// Runs `command` with the n-th call for memory failing, for each n until a run makes fewer calls.
fn starve_each(site: &Site, command: &str, environment: &str) -> Vec<Run> {
    let script = format!(
        "n=1; while [ $n -le {CALLS_MAX} ]; do\n\
         test ! -e $SITE/kept || cp -p $SITE/kept /run/elevate/sudoers.d/u{UID}\n\
         said=$(env STARVE=$n STARVE_IN=libpam_elevate {environment} LD_PRELOAD=$SITE/starve.so {command} 2>&1 | tr '\\n' ' ')\n\
         exit=$(cat $SITE/exit); echo \"$exit $said\"\n\
         case $said in *starved*) ;; *) break;; esac; n=$((n+1)); done"
    );
    runs(site, &script)
}

fn runs(site: &Site, script: &str) -> Vec<Run> {
    let output = site.inside(script, Stdio::null());
    let said = String::from_utf8_lossy(&output.stdout);
    let run = |line: &str| {
        let (exit, said) = line.split_once(' ').unwrap();
        Run { exit: exit.parse().unwrap(), said: said.to_owned(), starved: said.contains("starved") }
    };
    let runs: Vec<Run> = said.lines().map(run).collect();
    assert!(!runs.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    runs
}

/// `caller` behind a shell that keeps its exit code, which the pipe would lose; 128 and more is a signal.
fn caller(arguments: &str) -> String {
    format!("sh -c '$SITE/caller {arguments}; echo $? > $SITE/exit'")
}

#[test]
fn b08_memory_that_runs_out_at_any_call_authenticates_nobody_and_crashes_nothing() {
    let site = starving();
    fs::write(site.at("accepts"), frames(&[task(), verdict(true, 0)])).unwrap();
    fs::write(site.at("refuses"), frames(&[task(), verdict(false, 0)])).unwrap();
    for (agent, last) in [("accepts", "auth 0"), ("refuses", MAXTRIES)] {
        for environment in ["", "STARVE_ON=1"] {
            let command = caller(&format!("elevate nobody type:492039 $SITE/{agent} auth account"));
            let runs = starve_each(&site, &command, environment);
            let (whole, starved) = runs.split_last().unwrap();
            assert!(!whole.starved && whole.said.contains(last), "{agent}: {}", whole.said);
            assert!(starved.len() > 20, "only {} calls for memory", starved.len());
            for (run, number) in starved.iter().zip(1..) {
                assert!(
                    run.starved && run.exit == 1,
                    "{agent} {environment} {number}: exit {}: {}",
                    run.exit,
                    run.said
                );
                // Memory may end after the verdict was heard; then the account phase refuses.
                let refused = run.said.contains(AUTH_ERR)
                    || run.said.contains(AUTHINFO_UNAVAIL)
                    || run.said.contains(MAXTRIES)
                    || (agent == "accepts" && run.said.contains("account 6"));
                assert!(refused, "{agent} {environment} {number}: {}", run.said);
            }
        }
    }
}

#[test]
fn b08_memory_that_runs_out_at_any_call_opens_no_gate() {
    let site = starving();
    // The gate asks the kernel who calls; effective root is what sudo has.
    let command = caller("sudo nobody error - account");
    let hour = Span::HOUR;
    for (not_after, environment) in [(now(), ""), (now(), "STARVE_ON=1"), (now().after(hour), "STARVE_ON=1")]
    {
        site.grant(not_after);
        // A closed gate removes the rule; each run finds it again.
        fs::copy(site.dropin(), site.at("kept")).unwrap();
        let live = not_after > now();
        let runs = starve_each(&site, &command, &format!("PERSON={UID} {environment}"));
        let (whole, starved) = runs.split_last().unwrap();
        assert!(
            whole.said.contains("account 0") == live && starved.len() > 20,
            "{}: {}",
            starved.len(),
            whole.said
        );
        for (run, number) in starved.iter().zip(1..) {
            // libpam may lack the memory to keep a note for the report; a grant that has verified opens nevertheless.
            let open = live && run.exit == 0 && run.said.contains("account 0");
            let closed = run.exit == 1 && run.said.contains("account 6");
            assert!(open || closed, "{live} {environment} {number}: exit {}: {}", run.exit, run.said);
        }
    }
    // Nobody manages this account: whatever fails, the gate is none of its business.
    fs::remove_file(site.at("kept")).unwrap();
    fs::remove_file(site.dropin()).unwrap();
    for run in starve_each(&site, &command, &format!("PERSON={UID} STARVE_ON=1")) {
        assert!(run.exit == 0 && run.said.contains("account 0"), "exit {}: {}", run.exit, run.said);
    }
}

#[test]
fn b08_descriptors_that_run_out_open_no_gate() {
    let site = starving();
    let with = |descriptors: u32, not_after| {
        site.grant(not_after);
        let command = format!("prlimit --nofile={descriptors} $SITE/caller sudo nobody error - account");
        let output = site.inside(&format!("export PERSON={UID}; {command}"), Stdio::null());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let opened = |(exit, said): &(Option<i32>, String)| *exit == Some(0) && said == "account 0";
    let mut counts = [0, 0];
    for descriptors in 1..=16 {
        let live = with(descriptors, now().after(Span::HOUR));
        counts[usize::from(opened(&live))] += 1;
        let ended = with(descriptors, now());
        assert!(
            !opened(&ended) && live.0.is_some() && ended.0.is_some(),
            "{descriptors}: {ended:?}, {live:?}"
        );
    }
    assert!(counts[0] > 2 && counts[1] > 2, "too few and enough of them: {counts:?}");
    assert!(!site.dropin().exists(), "the gate removes what is over once it can");
}

#[test]
fn b08_a_conversation_that_fails_in_any_way_authenticates_nobody() {
    let site = starving();
    fs::write(site.at("accepts"), frames(&[task(), verdict(true, 0)])).unwrap();
    let long = format!("type:{}", "1".repeat(70));
    for conversation in ["error", "null", "empty", "gone", "type:", "\"type:   \"", &long] {
        let command = format!("$SITE/caller elevate nobody {conversation} $SITE/accepts auth account");
        let output = site.inside(&command, Stdio::null());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), said.trim()), (Some(1), AUTH_ERR), "{conversation}");
    }
}

#[test]
fn b08_an_agent_that_breaks_off_or_says_something_else_authenticates_nobody() {
    let site = starving();
    let accepted = frames(&[task(), verdict(true, 0)]);
    let whole = frames(&[task()]).len();
    let mut said: Vec<(Vec<u8>, &str)> = (0..accepted.len())
        .filter(|length| *length < whole + 6 || *length + 3 > accepted.len() || length % 16 == 0)
        .map(|length| (accepted[..length].to_vec(), AUTHINFO_UNAVAIL))
        .collect();
    said.push((frames(&[verdict(true, 9)]), AUTHINFO_UNAVAIL));
    said.push((frames(&[task(), task()]), AUTHINFO_UNAVAIL));
    said.push((b"\0\0\0\x02{]".to_vec(), AUTHINFO_UNAVAIL));
    said.push((frames(&[task(), verdict(false, 0)]), MAXTRIES));
    for (bytes, expected) in said {
        fs::write(site.at("says"), &bytes).unwrap();
        let output =
            site.inside("$SITE/caller elevate nobody type:492039 $SITE/says auth account", Stdio::null());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), said.trim()), (Some(1), expected), "{}", bytes.escape_ascii());
    }
    // Nobody at the other end, and one who is there and silent: given up within the module's own deadline.
    fs::write(site.at("silent"), frames(&[])).unwrap();
    for agent in ["-", "=$SITE/silent"] {
        let command = format!("timeout 20 $SITE/caller elevate nobody type:492039 {agent} auth account");
        let output = site.inside(&command, Stdio::null());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), said.trim()), (Some(1), AUTHINFO_UNAVAIL), "{agent}");
    }
}
