//! Grants that live: extending, still being eligible; and what `list`, `why` and `can-i` tell.
//!
//! In: the policy of the fixture. Out: exact reasons. Threats C07, C09, D06.

use elevate_protocol::time::{Span, Timestamp};

use super::reason::{Asked, EndsWith, FactorFault, Reason, Standing, TimeFault};
use crate::fixture::*;
use crate::{
    AdminPart, ExtendFacts, FactorProof, PermitReach, Policy, can_i, eligible_roles, explain, extend,
    extension_digest, offers, role_digest, roles_for_login, still_eligible,
};

/// alice's web-ops, started at [`NOW`] for an hour, with a factor for exactly this extension.
fn extension(by: Span) -> ExtendFacts {
    let request = request("alice", "web-ops", web1());
    let role_digest = role_digest(&policy(), &request.role, &request.person).unwrap();
    let mut facts = ExtendFacts {
        request,
        role_digest,
        started_at: NOW,
        not_after: later(3600),
        by,
        reason: None,
        factor: None,
    };
    let bound_to = extension_digest(&facts.ask()).unwrap();
    facts.factor = Some(FactorProof { checked_at: later(3000), bound_to });
    facts
}

fn because(policy: &Policy, facts: &ExtendFacts, now: Timestamp) -> Reason {
    extend(policy, facts, now).unwrap_err().because().clone()
}

#[test]
fn c09_extensions_end_at_the_maximum_from_the_start() {
    let policy = policy();
    let longer = extend(&policy, &extension(Span(3 * 3600)), later(3000)).unwrap();
    assert_eq!((longer.not_after(), longer.not_after_most()), (later(4 * 3600), later(4 * 3600)));
    let by = Span(3 * 3600 + 1);
    let (possible, limit) = (Span(3 * 3600), EndsWith::Maximum);
    let fault = because(&policy, &extension(by), later(3000));
    assert_eq!(fault, Asked::ExtensionTooLong { by, possible, limit }.into());
    assert_eq!(fault.hint().unwrap(), "elevate extend 3h");
    assert_eq!(because(&policy, &extension(Span(0)), later(3000)), Asked::DurationZero.into());
    let mut at_most = extension(Span(1));
    at_most.not_after = later(4 * 3600);
    let none = Asked::ExtensionTooLong { by: Span(1), possible: Span(0), limit };
    assert_eq!(because(&policy, &at_most, later(3000)), none.into());
}

#[test]
fn an_extension_never_goes_beyond_the_right() {
    // 2026-11-21 ends 12 hours after NOW; the role then allows 20.
    let text = MAIN.replace("\"4h\"", "\"20h\"").replace("manager = \"carol\"", "until = 2026-11-21");
    let policy = parse(&text).unwrap();
    let mut facts = extension(Span(12 * 3600));
    facts.role_digest = role_digest(&policy, &name("web-ops"), &name("alice")).unwrap();
    let (possible, limit) = (Span(11 * 3600), EndsWith::Person);
    let fault = Asked::ExtensionTooLong { by: Span(12 * 3600), possible, limit };
    assert_eq!(because(&policy, &facts, later(3000)), fault.into());
}

#[test]
fn d06_an_extension_needs_a_factor_of_its_own() {
    let policy = policy();
    let mut facts = extension(Span(1800));
    facts.by = Span(1801);
    assert_eq!(because(&policy, &facts, later(3000)), FactorFault::Elsewhere.into());
    let mut facts = extension(Span(1800));
    assert_eq!(because(&policy, &facts, later(3599 + 60)), TimeFault::GrantOver { at: later(3600) }.into());
    // The answer for one extension is none for the next, whose end is another.
    facts.not_after = later(5400);
    assert_eq!(because(&policy, &facts, later(3000)), FactorFault::Elsewhere.into());
    facts.factor = None;
    assert_eq!(because(&policy, &facts, later(3000)), FactorFault::Missing.into());
}

#[test]
fn a_grant_of_another_role_than_today_is_not_extended() {
    let facts = extension(Span(1800));
    let edited = policy_with("\"restart\", \"reload\"", "\"reload\"");
    assert_eq!(because(&edited, &facts, later(3000)), Standing::RoleChanged { role: name("web-ops") }.into());
    let gone = policy_with("\"alice\", \"bob\", \"dave\"", "\"bob\", \"dave\"");
    assert!(matches!(because(&gone, &facts, later(3000)), Reason::Standing(Standing::NotEligible { .. })));
}

#[test]
fn c07_a_grant_goes_when_the_right_goes() {
    let check =
        |policy: &Policy, host, now| still_eligible(policy, &name("alice"), &name("web-ops"), &[host], now);
    assert_eq!(check(&policy(), web1(), NOW), Ok(()));
    let gone = policy_with("\"alice\", \"bob\", \"dave\"", "\"bob\", \"dave\"");
    let fault = Standing::NotEligible { person: name("alice"), role: name("web-ops") };
    assert_eq!(check(&gone, web1(), NOW), Err(fault.into()));
    let moved = host(1, "web1", &[("tier", "db"), ("env", "prod")]);
    assert!(matches!(check(&policy(), moved, NOW), Err(Reason::Standing(Standing::HostOutOfScope { .. }))));
    let ended = policy_with("manager = \"carol\"", "until = 2026-11-21");
    assert_eq!(check(&ended, web1(), later(43_199)), Ok(()));
    assert!(matches!(
        check(&ended, web1(), later(43_200)),
        Err(Reason::Standing(Standing::PersonOver { .. }))
    ));
}

#[test]
fn entries_that_follow_each_other_are_one_right() {
    let entries = "who = [{ person = \"alice\", until = 2026-11-30 }, { person = \"alice\", from = 2026-11-30, until = 2026-12-05 }, { person = \"alice\", from = 2026-12-24 }]";
    let policy = policy_with("who     = [\"alice\"]", entries);
    let mine = eligible_roles(&policy, &name("alice"), NOW);
    let patch = mine.iter().find(|eligible| eligible.role.name == name("patch")).unwrap();
    // 2026-12-06T00:00:00Z: through the end of the 5th, and not beyond the gap.
    assert_eq!(patch.until, Some(Timestamp(1_796_515_200)));
}

#[test]
fn lists_show_what_may_be_activated() {
    let policy = policy();
    let names = |roles: Vec<crate::EligibleRole<'_>>| -> Vec<String> {
        roles.iter().map(|eligible| eligible.role.name.to_string()).collect()
    };
    assert_eq!(names(eligible_roles(&policy, &name("alice"), NOW)), ["dba", "patch", "web-ops"]);
    assert_eq!(names(eligible_roles(&policy, &name("mallory"), NOW)), Vec::<String>::new());
    let on = |login: &str, host| names(roles_for_login(&policy, &login.parse().unwrap(), &host, NOW));
    assert_eq!(on("alice", web1()), ["patch", "web-ops"]);
    assert_eq!(on("bsmith", db1()), ["dba"]);
    assert_eq!(on("bob", db1()), Vec::<String>::new());
    assert_eq!(policy.groups_of(&name("grace")), [name("dba-leads"), name("security")]);
}

#[test]
fn offers_are_the_roles_of_every_login_at_every_time() {
    // One whose entry in the policy ends, beside those whose eligibility does.
    let text = MAIN.replace("manager = \"carol\"", "until = 2026-11-21");
    for policy in [policy(), parse(&text).unwrap()] {
        for host in [web1(), db1()] {
            for hours in [0, 11, 13, 24 * 30, 24 * 365] {
                let now = later(hours * 3600);
                let mut one_by_one = std::collections::BTreeMap::new();
                for person in policy.people() {
                    let mine = roles_for_login(&policy, &person.login, &host, now);
                    let names: Vec<_> = mine.iter().map(|eligible| eligible.role.name.clone()).collect();
                    if !names.is_empty() {
                        one_by_one.insert(person.login.clone(), names);
                    }
                }
                assert_eq!(offers(&policy, &host, now), one_by_one, "{} in {hours} h", host.name);
            }
        }
    }
}

#[test]
fn why_tells_which_role_and_what_is_near() {
    let policy = policy();
    let ask = |person: &str, host, argv: &str| {
        let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
        let told = explain(&policy, &name(person), &host, &argv, NOW);
        let roles: Vec<String> = told.roles.iter().map(ToString::to_string).collect();
        let reasons: Vec<String> = told.reasons.iter().map(|(_, reason)| reason.to_string()).collect();
        (roles.join(" "), told.hint().unwrap_or_default(), reasons.join("\n"))
    };
    let (roles, hint, text) = ask("alice", web1(), "systemctl restart nginx.service");
    assert_eq!((roles.as_str(), hint.as_str()), ("web-ops", "elevate web-ops"));
    assert!(text.contains("web-ops allows /usr/bin/systemctl restart nginx.service"), "{text}");
    assert!(text.contains("dba is for hosts with tier=db, web1 has tier=web"), "{text}");
    let (roles, _, text) = ask("alice", web1(), "/usr/bin/systemctl restart nginx");
    assert_eq!(roles, "");
    assert!(text.contains("web-ops does not allow this command"), "{text}");
    let near = explain(&policy, &name("bob"), &web1(), &["systemctl".into(), "stop".into()], NOW).reasons;
    let hints: Vec<String> = near.iter().filter_map(|(_, reason)| reason.hint()).collect();
    assert!(hints.iter().any(|hint| hint.contains("/usr/bin/systemctl restart nginx.service")), "{hints:?}");
    assert_eq!(ask("alice", db1(), "anything at all").0, "dba");
    assert_eq!(ask("alice", web1(), "sudoedit /var/www/maintenance.html").0, "web-ops");
    assert_eq!(ask("alice", web1(), "sudoedit /etc/passwd").0, "");
    assert_eq!(ask("alice", web1(), "./systemctl restart nginx.service").0, "");
    assert_eq!(ask("grace", web1(), "id").2, "grace is eligible for no role");
    assert_eq!(ask("eve", web1(), "id").2, "eve is nobody in the policy");
}

#[test]
fn can_i_tells_what_it_would_take() {
    let policy = policy();
    let told = can_i(&policy, &name("alice"), &name("dba"), Some(&db1()), NOW);
    assert_eq!(told.roles, [name("dba")]);
    assert!(
        told.reasons.iter().any(|(_, r)| r.to_string() == "dba needs 2 of carol, grace, heidi"),
        "{told:?}"
    );
    assert!(can_i(&policy, &name("alice"), &name("dba"), Some(&web1()), NOW).roles.is_empty());
    assert!(can_i(&policy, &name("alice"), &name("nothing"), None, NOW).roles.is_empty());
    let free = can_i(&policy, &name("alice"), &name("web-ops"), None, NOW);
    assert!(free.reasons.iter().any(|(_, r)| r.to_string() == "web-ops needs no approval"));
}

#[test]
fn a_role_that_administers_has_no_hosts_and_one_for_hosts_has_some() {
    let policy = policy_with(
        "[roles.web-ops]",
        "[roles.keepers]\nwho = [\"alice\"]\nadmin = [\"locks\"]\n\n[roles.web-ops]",
    );
    let mut admin = request("alice", "keepers", web1());
    let refused = refusal(&policy, &facts(&policy, admin.clone()), NOW);
    assert_eq!(refused.because(), &Standing::HasNoHosts { role: name("keepers") }.into());
    admin.hosts = Vec::new();
    let permit = permit(&policy, &facts(&policy, admin), NOW);
    let PermitReach::Daemon { admin } = permit.reach() else { panic!("{permit:?}") };
    assert_eq!(admin.iter().collect::<Vec<_>>(), [&AdminPart::Locks]);
    let mut nowhere = request("alice", "web-ops", web1());
    nowhere.hosts = Vec::new();
    let refused = refusal(&policy, &facts(&policy, nowhere), NOW);
    assert_eq!(refused.because(), &Standing::NoHost { role: name("web-ops") }.into());
}
