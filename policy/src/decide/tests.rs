//! Decisions by threat id, each with one thing changed against a case that is permitted.
//!
//! In: the policy of the fixture. Out: exact reasons. Threats A01, C01, C03, C04, C06, C09, C10, D06.

use elevate_protocol::digest::Digest;
use elevate_protocol::time::Span;

use super::reason::{ApprovalFault, Asked, EndsWith, FactorFault, Reason, Standing, Support, TimeFault};
use crate::fixture::*;
use crate::{
    Decision, FactorProof, Facts, PermitReach, RecordedDenial, RoleDigest, decide, may_decide,
    request_digest, role_digest,
};

fn ops() -> Facts {
    facts(&policy(), request("alice", "web-ops", web1()))
}

fn dba() -> Facts {
    facts(&policy(), request("alice", "dba", db1()))
}

#[test]
fn a_good_request_is_permitted_with_everything_that_a_grant_needs() {
    let policy = policy();
    let permit = permit(&policy, &ops(), later(5));
    assert_eq!((permit.person(), permit.role()), (&name("alice"), &name("web-ops")));
    let PermitReach::Hosts { hosts, sudo, ssh: None } = permit.reach() else { panic!("{permit:?}") };
    assert_eq!(hosts.first().name, name("web1"));
    assert_eq!((permit.starts_at(), permit.duration()), (later(5), Span::HOUR));
    assert_eq!((permit.not_after(), permit.not_after_most()), (later(3605), later(5 + 4 * 3600)));
    assert_eq!(sudo.as_ref(), policy.role(&name("web-ops")).unwrap().sudo());
    assert_eq!(permit.warn(), [Span(600), Span(300), Span(60)]);
    assert_eq!(permit.request_digest(), request_digest(&ops().request).unwrap());
    assert_eq!(Some(permit.role_digest()), role_digest(&policy, &name("web-ops"), &name("alice")));
    assert!(permit.approvals().is_empty() && permit.reasons().iter().all(Reason::speaks_for));
}

#[test]
fn the_same_input_gives_the_same_decision() {
    let (policy, facts) = (policy(), approved(dba(), &["carol", "grace"]));
    assert_eq!(decide(&policy, &facts, NOW), decide(&policy, &facts, NOW));
}

#[test]
fn eligibility_is_looked_at_now() {
    let policy = policy();
    let at = |person: &str, role: &str, now| {
        let mut facts = facts(&policy, request(person, role, db1()));
        facts.request.asked_at = now;
        refusal(&policy, &facts, now).because().clone()
    };
    let (new_year, april) =
        (elevate_protocol::time::Timestamp(1_798_761_600), elevate_protocol::time::Timestamp(1_806_537_600));
    assert_eq!(at("eve", "dba", NOW), Standing::UnknownPerson { person: name("eve") }.into());
    assert_eq!(at("alice", "dbaa", NOW), Standing::UnknownRole { role: name("dbaa") }.into());
    assert_eq!(
        at("grace", "dba", NOW),
        Standing::NotEligible { person: name("grace"), role: name("dba") }.into()
    );
    assert_eq!(at("mallory", "dba", NOW), Standing::NotYet { role: name("dba"), from: new_year }.into());
    assert_eq!(
        at("dave", "dba", new_year),
        Standing::PersonOver { person: name("dave"), until: new_year }.into()
    );
    assert_eq!(
        at("alice", "dba", april),
        Standing::EligibilityOver { role: name("dba"), until: april }.into()
    );
    let before = new_year.before(Span(1));
    let mut facts = facts(&policy, request("dave", "dba", db1()));
    facts.request.asked_at = before;
    assert!(matches!(decide(&policy, &facts, before), Decision::Pending(_)));
}

#[test]
fn c10_every_host_must_be_in_scope() {
    let policy = policy();
    let mut facts = ops();
    facts.request.hosts = vec![web1(), db1()];
    let because = refusal(&policy, &facts, NOW).because().clone();
    assert_eq!(because.to_string(), "web-ops is for hosts with tier=web, db1 has tier=db");
    facts.request.hosts = vec![host(3, "web3", &[("tier", "web")])];
    let because = refusal(&policy, &facts, NOW).because().to_string();
    assert_eq!(because, "web-ops is for hosts with env=prod|stage, web3 has no env");
    let patch = crate::fixture::facts(&policy, request("alice", "patch", host(4, "mail1", &[])));
    let because = refusal(&policy, &patch, NOW).because().to_string();
    assert_eq!(because, "patch is for hosts with names web*, db1, mail1 has the name mail1");
}

#[test]
fn a_host_named_twice_is_one_host() {
    let mut facts = ops();
    let once = request_digest(&facts.request).unwrap();
    facts.request.hosts = vec![web1(), web1()];
    assert_eq!(request_digest(&facts.request).unwrap(), once);
    let permit = permit(&policy(), &facts, NOW);
    assert!(matches!(permit.reach(), PermitReach::Hosts { hosts, .. } if hosts.count() == 1), "{permit:?}");
}

#[test]
fn c09_a_duration_is_within_the_maximum_and_the_right() {
    let policy = policy();
    let with = |duration| {
        let mut request = request("alice", "web-ops", web1());
        request.duration = Some(duration);
        facts(&policy, request)
    };
    assert_eq!(refusal(&policy, &with(Span(0)), NOW).because(), &Asked::DurationZero.into());
    let (role, asked, most) = (name("web-ops"), Span(4 * 3600 + 1), Span(4 * 3600));
    assert_eq!(
        refusal(&policy, &with(asked), NOW).because(),
        &Asked::DurationTooLong { role, asked, most }.into()
    );
    assert_eq!(permit(&policy, &with(most), NOW).duration(), most);
    // dave's entry ends with 2026; 10 minutes before, an hour is 10 minutes, and so are its extensions.
    let late = elevate_protocol::time::Timestamp(1_798_761_000);
    let mut facts = facts(&policy, request("dave", "web-ops", web1()));
    facts.request.asked_at = late;
    let bound_to = request_digest(&facts.request).unwrap();
    facts.factor = Some(FactorProof { checked_at: late, bound_to });
    let permit = permit(&policy, &facts, late);
    assert_eq!((permit.duration(), permit.not_after_most()), (Span(600), late.after(Span(600))));
    assert_eq!(permit.warn(), [Span(300), Span(60)]);
    let cut = Support::Shortened { asked: Span::HOUR, to: Span(600), by: EndsWith::Person };
    assert!(permit.reasons().contains(&cut.into()));
}

#[test]
fn a_reason_says_something_or_a_ticket_does() {
    let policy = policy();
    let with = |role: &str, reason: Option<&str>, ticket: Option<&str>| {
        let mut request = request("alice", role, if role == "dba" { db1() } else { web1() });
        request.reason = reason.map(|text| text.parse().unwrap());
        request.ticket = ticket.map(|text| text.parse().unwrap());
        facts(&policy, request)
    };
    let because = |facts: &Facts| refusal(&policy, facts, NOW).because().clone();
    let role = || name("web-ops");
    assert_eq!(
        because(&with("web-ops", None, None)),
        Asked::ReasonMissing { role: role(), least: 10 }.into()
    );
    let short = Asked::ReasonTooShort { role: role(), found: 9, least: 10 };
    assert_eq!(because(&with("web-ops", Some("   123456789   "), None)), short.into());
    permit(
        &policy,
        &with("web-ops", Some("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"), None),
        NOW,
    );
    // A ticket counts only where the role says what a ticket is.
    assert!(matches!(
        because(&with("web-ops", None, Some("INC-1"))),
        Reason::Asked(Asked::ReasonMissing { .. })
    ));
    pending(&policy, &with("dba", None, Some("INC-4211")), NOW);
    let form = Asked::TicketForm { role: name("dba"), pattern: "(INC|CHG)-[0-9]+".into() };
    assert_eq!(because(&with("dba", Some("a long enough reason"), Some("INC-4211 "))), form.into());
    let must = policy_with("(INC|CHG)-[0-9]+\"", "(INC|CHG)-[0-9]+\", required = true");
    let none = with("dba", Some("a long enough reason"), None);
    let missing = Asked::TicketMissing { role: name("dba"), pattern: "(INC|CHG)-[0-9]+".into() };
    assert_eq!(refusal(&must, &none, NOW).because(), &missing.into());
}

#[test]
fn d06_a_factor_counts_for_its_own_request_while_it_is_fresh() {
    let policy = policy();
    let with = |factor| Facts { factor, ..ops() };
    let own = request_digest(&ops().request).unwrap();
    let other = request_digest(&request("bob", "web-ops", web1())).unwrap();
    let proof = |checked_at, bound_to| Some(FactorProof { checked_at, bound_to });
    let fault = |facts: &Facts, now| {
        let pending = pending(&policy, facts, now);
        assert!(pending.factor && pending.is_approved());
        pending.reasons.into_iter().find(|reason| !reason.speaks_for()).unwrap()
    };
    assert_eq!(fault(&with(None), NOW), FactorFault::Missing.into());
    assert_eq!(fault(&with(proof(NOW, other)), NOW), FactorFault::Elsewhere.into());
    assert_eq!(fault(&with(proof(NOW, Digest::of(b""))), NOW), FactorFault::Elsewhere.into());
    assert_eq!(fault(&ops(), later(601)), FactorFault::Old { at: NOW }.into());
    assert_eq!(fault(&with(proof(later(61), own)), NOW), FactorFault::Ahead { at: later(61) }.into());
    permit(&policy, &ops(), later(600));
    // A changed request is another request: the factor of the old one is gone.
    let mut longer = ops();
    longer.request.duration = Some(Span(7200));
    assert_eq!(fault(&longer, NOW), FactorFault::Elsewhere.into());
    let patch = approved(facts(&policy, request("alice", "patch", db1())), &["bob", "carol"]);
    permit(&policy, &Facts { factor: None, ..patch }, NOW);
}

#[test]
fn approvals_are_counted_until_there_are_enough() {
    let policy = policy();
    let none = pending(&policy, &dba(), NOW);
    assert_eq!((none.needs.len(), none.needs[0].missing(), none.factor), (1, 2, false));
    assert_eq!(none.needs[0].of, [name("carol"), name("grace"), name("heidi")]);
    assert_eq!(none.lapses_at, later(86_400));
    let one = pending(&policy, &approved(dba(), &["carol"]), NOW);
    assert_eq!(one.reasons.last().unwrap().to_string(), "1 more of grace, heidi must approve");
    let two = permit(&policy, &approved(dba(), &["heidi", "carol"]), NOW);
    let by: Vec<_> = two.approvals().iter().map(|approval| approval.person.as_str().to_owned()).collect();
    assert_eq!(by, ["carol", "heidi"]);
}

#[test]
fn c01_nobody_approves_their_own_request_by_any_path() {
    let policy = policy();
    // carol is a leader herself: out of the list, and what is recorded in her name does not count.
    let own = approved(facts(&policy, request("carol", "dba", db1())), &["carol", "grace"]);
    let waits = pending(&policy, &own, NOW);
    assert_eq!(
        (waits.needs[0].of.as_slice(), waits.needs[0].missing()),
        (&[name("grace"), name("heidi")][..], 1)
    );
    assert!(waits.reasons.contains(&ApprovalFault::Own { by: name("carol") }.into()));
    assert_eq!(
        may_decide(&policy, &name("carol"), &own.request, NOW),
        Err(ApprovalFault::Own { by: name("carol") }.into())
    );
    // Through a group in a group, too.
    let nested = policy_with("[\"grace\", \"heidi\"]", "[\"grace\", \"heidi\", \"alice\", \"@web-admins\"]");
    let mine = approved(facts(&nested, request("alice", "dba", db1())), &["alice", "grace"]);
    assert_eq!(pending(&nested, &mine, NOW).needs[0].missing(), 1);
    assert!(may_decide(&nested, &name("alice"), &mine.request, NOW).is_err());
    assert_eq!(may_decide(&nested, &name("bob"), &mine.request, NOW), Ok(()));
}

#[test]
fn c04_one_person_counts_once() {
    let twice = approved(dba(), &["carol", "carol", "carol"]);
    assert_eq!(pending(&policy(), &twice, NOW).needs[0].missing(), 1);
}

#[test]
fn one_person_counts_for_one_rule_and_is_set_where_it_helps() {
    let policy = policy();
    let patch = facts(&policy, request("alice", "patch", web1()));
    let missing = |by: &[&str]| match decide(&policy, &approved(patch.clone(), by), NOW) {
        Decision::Permit(_) => 0,
        Decision::Pending(pending) => pending.needs.iter().map(crate::Need::missing).sum(),
        Decision::Refuse(refusal) => panic!("{refusal:?}"),
    };
    // The rules: one of bob, carol; one of carol, grace.
    assert_eq!((missing(&["carol"]), missing(&["bob"]), missing(&["heidi"])), (1, 1, 2));
    assert_eq!(
        (missing(&["carol", "grace"]), missing(&["bob", "carol"]), missing(&["bob", "grace"])),
        (0, 0, 0)
    );
}

/// bob comes first in both rules; the first has to give him up to the second.
#[test]
fn a_person_moves_to_the_rule_that_has_nobody_else() {
    let policy = policy_with("[\"carol\", \"grace\"], within = \"1h\"", "[\"bob\"]");
    let patch = facts(&policy, request("alice", "patch", web1()));
    permit(&policy, &approved(patch, &["bob", "carol"]), NOW);
}

#[test]
fn approvals_are_bound_to_the_request_and_the_role() {
    let (policy, good) = (policy(), approved(dba(), &["carol", "grace"]));
    permit(&policy, &good, NOW);
    let fault = |facts: &Facts| pending(&policy, facts, NOW).reasons;
    let mut other = good.clone();
    other.approvals[0].request = request_digest(&request("bob", "dba", db1())).unwrap();
    assert!(fault(&other).contains(&ApprovalFault::Elsewhere { by: name("carol") }.into()));
    let mut edited = good.clone();
    edited.approvals[1].role = RoleDigest::recorded(Digest::of(b"another role"));
    assert!(fault(&edited).contains(&ApprovalFault::Void { by: name("grace") }.into()));
    let mut more = good;
    more.request.reason = Some("something else entirely".parse().unwrap());
    assert!(fault(&more).contains(&ApprovalFault::Elsewhere { by: name("grace") }.into()));
}

#[test]
fn an_edit_voids_approvals_exactly_when_it_changes_the_role_or_the_eligibility() {
    let good = approved(dba(), &["carol", "grace"]);
    for (from, to) in [
        ("as = \"postgres\"", "as = \"root\""),
        ("tier = \"db\"", "tier = \"data\""),
        ("until = 2027-03-31", "until = 2027-04-30"),
        ("within = \"24h\"", "within = \"25h\""),
        ("\"4h\"", "\"3h\""),
        ("Database maintenance as postgres", "Look at tables"),
    ] {
        let edited = policy_with(from, to);
        assert!(!matches!(decide(&edited, &good, NOW), Decision::Permit(_)), "{to}");
    }
    for (from, to) in [
        ("\"dave\"]", "\"dave\", \"grace\"]"),
        ("\"carol\", { person", "\"heidi\", \"carol\", { person"),
        ("[\"grace\", \"heidi\"]", "[\"grace\", \"heidi\", \"bob\"]"),
        ("Run the web tier", "Run the whole web tier"),
        ("max     = \"30m\"", "max     = \"20m\""),
    ] {
        permit(&policy_with(from, to), &good, NOW);
    }
}

#[test]
fn c06_an_approver_must_still_be_entitled_at_the_start() {
    let good = approved(dba(), &["carol", "grace"]);
    let reason = |policy| pending(policy, &good, NOW).reasons;
    let out = policy_with("[\"carol\", \"@security\"]", "[\"bob\", \"@security\"]");
    let fault = ApprovalFault::NotEntitled { by: name("carol"), role: name("dba") };
    assert!(reason(&out).contains(&fault.into()));
    let left = policy_with("grace = {}", "grace = { until = 2026-11-20 }");
    let fault = ApprovalFault::NotEntitled { by: name("grace"), role: name("dba") };
    assert!(reason(&left).contains(&fault.into()));
    assert_eq!(
        may_decide(&left, &name("grace"), &good.request, NOW).unwrap_err().to_string(),
        "the entry of grace ended at 2026-11-21T00:00:00Z"
    );
    assert!(may_decide(&policy(), &name("mallory"), &good.request, NOW).is_err());
    let ops = request("alice", "web-ops", web1());
    let nothing = ApprovalFault::NothingToDecide { role: name("web-ops") };
    assert_eq!(may_decide(&policy(), &name("carol"), &ops, NOW), Err(nothing.into()));
}

#[test]
fn an_approval_counts_within_its_time_and_never_from_the_future() {
    let policy = policy();
    let mut facts = approved(facts(&policy, request("alice", "patch", web1())), &["bob", "grace"]);
    permit(&policy, &facts, later(3599));
    let waits = pending(&policy, &facts, later(3600));
    assert!(waits.reasons.contains(&ApprovalFault::Old { by: name("grace"), at: NOW }.into()));
    assert_eq!((waits.needs[0].missing(), waits.needs[1].missing()), (0, 1));
    facts.approvals[1].at = later(120);
    assert_eq!(pending(&policy, &facts, NOW).needs[1].missing(), 1);
}

#[test]
fn a_denial_is_final_and_a_request_lapses() {
    let policy = policy();
    let denial =
        RecordedDenial { by: name("carol"), at: NOW, reason: "not during the freeze".parse().unwrap() };
    let denied = Facts { denial: Some(denial), ..approved(dba(), &["carol", "grace"]) };
    let refused = refusal(&policy, &denied, NOW);
    assert_eq!(refused.to_string(), "carol denied it: not during the freeze");
    assert_eq!(refused.code().exit(), 5);
    let good = approved(dba(), &["carol", "grace"]);
    let lapsed = TimeFault::Lapsed { at: later(86_400) };
    assert_eq!(refusal(&policy, &good, later(86_400)).because(), &lapsed.into());
    let back = TimeFault::ClockWentBack { at: NOW };
    assert_eq!(refusal(&policy, &good, NOW.before(Span(61))).because(), &back.into());
}

#[test]
fn a_refusal_has_a_code_and_a_hint_for_the_person() {
    let policy = policy();
    let facts = facts(&policy, request("grace", "web-ops", web1()));
    let wire: elevate_protocol::message::refusal::Refusal = (&refusal(&policy, &facts, NOW)).into();
    assert_eq!((wire.code.exit(), wire.message.as_str()), (3, "grace is not eligible for web-ops"));
    assert_eq!(wire.hint.as_deref(), Some("elevate list shows what you may activate"));
}

/// The approvers' group reaches the requester's team through five levels, and has ten thousand members.
#[test]
fn c03_nesting_and_size_change_nothing() {
    let mut text = String::from("[people]\nalice = {}\nbob = {}\n");
    (0..10_000).for_each(|n| text.push_str(&format!("p{n} = {{}}\n")));
    let crowd: Vec<String> = (0..10_000).map(|n| format!("\"p{n}\"")).collect();
    text.push_str(&format!("[groups]\nteam = [\"alice\", {}]\n", crowd.join(", ")));
    for (outer, inner) in [("l1", "team"), ("l2", "l1"), ("l3", "l2"), ("l4", "l3"), ("leads", "l4")] {
        text.push_str(&format!("{outer} = [\"@{inner}\", \"bob\"]\n"));
    }
    text.push_str(
        "[roles.x]\nwho = [\"@leads\"]\nhosts = { tier = \"web\" }\nsudo = { as = \"root\", shell = true }\n\
         approve = [{ need = 2, of = [\"@leads\"] }]\n",
    );
    let policy = parse(&text).unwrap();
    let facts = facts(&policy, request("alice", "x", web1()));
    let own = approved(facts.clone(), &["alice", "bob"]);
    let waits = pending(&policy, &own, NOW);
    assert_eq!((waits.needs[0].missing(), waits.needs[0].of.len()), (1, 10_001));
    assert!(!waits.needs[0].of.contains(&name("alice")));
    permit(&policy, &approved(facts, &["p9999", "bob"]), NOW);
}

#[test]
fn a01_a_person_of_the_request_who_is_not_in_the_policy_is_refused() {
    let policy = policy();
    let mut facts = ops();
    facts.request.person = name("mallory2");
    let fault = Standing::UnknownPerson { person: name("mallory2") };
    assert_eq!(refusal(&policy, &facts, NOW).because(), &fault.into());
}
