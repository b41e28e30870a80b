//! Golden lines of activations, in UTC, at a moment that is passed in.

use elevate_protocol::digest::Digest;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::view::ApprovedView;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use jiff::tz::TimeZone;

use super::*;
use crate::render::progress;

/// 2026-11-21 13:41:00 UTC.
pub(crate) const NOW: i64 = 1_795_268_460;

pub(crate) fn at() -> At {
    At { now: Timestamp(NOW), zone: TimeZone::UTC }
}

/// alice's active `dba` on db1.
pub(crate) fn view() -> ActivationView {
    let id: ActivationId = "7K2MABCDEFGHJKMNPQRSTVWXYZ".parse().unwrap();
    ActivationView {
        id,
        short: "7K2M".into(),
        person: "alice".parse().unwrap(),
        role: "dba".parse().unwrap(),
        title: Some("Database maintenance".parse().unwrap()),
        allows: "runs anything as postgres".into(),
        run_as: Some("postgres".parse().unwrap()),
        logins: Vec::new(),
        factor_at_use: false,
        state: State::Active,
        hosts: vec![ActivationHostView {
            name: "db1".parse().unwrap(),
            state: HostState::Confirmed,
            documents: Vec::new(),
        }],
        duration: Span::HOUR,
        reason: Some("INC-4211 stuck vacuum".parse().unwrap()),
        ticket: None,
        asked_at: Timestamp(NOW - 70),
        lapses_at: Timestamp(NOW + 86_400),
        factor_at: Some(Timestamp(NOW - 10)),
        from: "10.1.2.3".parse().unwrap(),
        needs: Vec::new(),
        digest: Digest::of(b"x"),
        starts_at: Some(Timestamp(NOW - 60)),
        ends_at: Some(Timestamp(NOW + 3540)),
        ends_at_most: Some(Timestamp(NOW + 7200)),
        extensions: 0,
    }
}

pub(crate) fn pending() -> ActivationView {
    let mut one = view();
    one.state = State::Pending;
    (one.starts_at, one.ends_at, one.ends_at_most) = (None, None, None);
    one.needs = vec![NeedView {
        need: 2,
        of: ["carol", "grace", "heidi"].map(|name| name.parse().unwrap()).to_vec(),
        approved: Vec::new(),
    }];
    one
}

fn approved(name: &str, said: Option<&str>) -> ApprovedView {
    ApprovedView {
        person: name.parse().unwrap(),
        at: Timestamp(NOW),
        reason: said.map(|text| text.parse().unwrap()),
    }
}

fn text(line: &Line) -> String {
    line.render(false)
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(text).collect()
}

#[test]
fn an_active_grant_says_where_and_until_when() {
    assert_eq!(text(&one_line(&view(), &at())), "G-7K2M active on db1 until 14:40 UTC (59m): dba");
    let extended = |extensions| text(&one_line(&ActivationView { extensions, ..view() }, &at()));
    assert_eq!(extended(1), "G-7K2M active on db1 until 14:40 UTC (59m), extended: dba");
    assert_eq!(extended(2), "G-7K2M active on db1 until 14:40 UTC (59m), extended 2 times: dba");
    assert_eq!(
        text(&progress::how_to_use(&view())),
        "Use: sudo -u postgres CMD   Done early: elevate drop G-7K2M   More time: elevate extend G-7K2M 30m"
    );
    let logins = |run_as: Option<&str>| {
        let run_as = run_as.map(|name| name.parse().unwrap());
        let view = ActivationView { run_as, logins: vec!["git".parse().unwrap()], ..view() };
        text(&progress::how_to_use(&view)).split("   Done").next().unwrap().to_owned()
    };
    assert_eq!(logins(None), "Use: elevate ssh git@db1");
    assert_eq!(logins(Some("root")), "Use: sudo CMD   elevate ssh git@db1");
    let administers = ActivationView { run_as: None, hosts: vec![], ..view() };
    assert!(text(&progress::how_to_use(&administers)).starts_with("Use: elevatectl   Done early"));
    let mut two = view();
    two.hosts.push(ActivationHostView {
        name: "db2".parse().unwrap(),
        state: HostState::Offline { since: None },
        documents: Vec::new(),
    });
    assert_eq!(
        text(&one_line(&two, &at())),
        "G-7K2M active on db1; db2 offline, pending until 14:40 UTC (59m): dba"
    );
}

#[test]
fn a_request_says_what_it_needs_and_how_to_resume() {
    assert_eq!(
        texts(&progress::changes(&pending(), None, &at())),
        [
            "R-7K2M asks for dba on db1, 1h. Needs 2 of carol, grace, heidi. Ctrl-C keeps it; resume: elevate R-7K2M"
        ]
    );
    assert_eq!(
        text(&progress::left(&pending(), &at())),
        "R-7K2M stays pending until 2026-11-22 13:41 UTC. Resume: elevate R-7K2M   Take back: elevate cancel R-7K2M"
    );
}

#[test]
fn each_change_is_said_once() {
    let (first, mut second) = (pending(), pending());
    second.needs[0].approved.push(approved("carol", Some("ok")));
    assert_eq!(
        texts(&progress::changes(&second, Some(&first), &at())),
        ["  carol approved  \"ok\"", "  Waiting for 1 of grace, heidi."]
    );
    assert!(progress::changes(&second, Some(&second), &at()).is_empty());
    let mut third = second.clone();
    third.needs[0].approved.push(approved("heidi", None));
    third.state = State::Approved;
    assert_eq!(
        texts(&progress::changes(&third, Some(&second), &at())),
        ["  heidi approved", "  Approved: start it with a fresh code until 2026-11-22 13:41 UTC."]
    );
}

#[test]
fn an_approver_reads_everything_that_matters_on_one_line() {
    assert_eq!(
        text(&for_review(&pending(), &at())),
        "R-7K2M alice asks dba on db1 for 1h: \"INC-4211 stuck vacuum\". Runs anything as postgres. \
         Code checked 10s ago from 10.1.2.3. elevate approve R-7K2M | elevate deny R-7K2M -m …"
    );
}

#[test]
fn ends_and_refusals_say_why() {
    let with = |state| {
        let mut one = view();
        one.state = state;
        text(&one_line(&one, &at()))
    };
    let ended = State::Ended { cause: EndCause::Revoked, at: Timestamp(NOW) };
    assert_eq!(with(ended), "G-7K2M ended 13:41 UTC: revoked by an administrator; dba on db1");
    let denied =
        State::Denied { by: "carol".parse().unwrap(), reason: "not in this window".parse().unwrap() };
    assert_eq!(with(denied), "G-7K2M denied by carol: \"not in this window\"");
}

/// Fields that are plain strings on the wire could hold anything if the daemon were not ours.
#[test]
fn b13_hostile_words_of_the_daemon_are_escaped_in_text_and_json() {
    let hostile = "\x1b]52;c;ZXZpbA==\x07\u{9b}2J\u{202e}";
    let mut one = view();
    one.allows = hostile.into();
    one.short = hostile.into();
    one.reason = Some(UntrustedText::lossy(hostile));
    one.state = State::Refused { reason: hostile.into() };
    let mut shown = texts(&full(&one, &at()));
    shown.push(text(&for_review(&one, &at())));
    shown.push(crate::paint::json_on_terminal(&crate::render::json::activation(&one, at().now).to_string()));
    for line in shown {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn json_has_a_schema_and_times_for_machines() {
    let value = crate::render::json::activation(&view(), at().now);
    assert_eq!(value["schema"], "elevate.activation/1");
    assert_eq!(value["id"], "G-7K2MABCDEFGHJKMNPQRSTVWXYZ");
    assert_eq!((&value["state"], &value["seconds_left"]), (&"active".into(), &3540.into()));
    assert_eq!((&value["ends_at"], &value["run_as"]), (&"2026-11-21T14:40:00Z".into(), &"postgres".into()));
    let value = crate::render::json::activation(&pending(), at().now);
    assert!(value["seconds_left"].is_null() && value["ends_at"].is_null());
    assert_eq!(value["needs"][0]["of"][2], "heidi");
}
