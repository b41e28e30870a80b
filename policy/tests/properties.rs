//! Properties of policy and decisions, over generated policies, requests and approvals.
//!
//! In: random values. Out: what is shown reads back; nothing is permitted that a simple reference forbids.
//! The reference is written from docs/policy.md, by other means: Hall's condition instead of a matching.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "a test that overflows or panics has failed"
)]

use std::cell::Cell;
use std::collections::BTreeSet;

use elevate_policy::{
    Decision, FactorProof, Facts, HostFacts, Policy, RecordedApproval, Request, decide, request_digest,
    role_digest,
};
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::time::{Span, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// 2026-11-21T00:00:00Z; dates of the generated policies are days after it.
const DAY_0: i64 = 1_795_219_200;
const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// A policy as plain numbers, from which both the TOML and the reference are made.
#[derive(Debug, Clone)]
struct Model {
    /// Last day of each person.
    person_until: Vec<Option<u8>>,
    /// People of g0; g1 is g0 and these; g2 is g1 and these.
    groups: [Vec<usize>; 3],
    /// Entries of the one role: person or group (5, 6, 7), first and last day.
    who: Vec<(usize, Option<u8>, Option<u8>)>,
    /// Need, of whom (as in `who`), hours that it counts.
    approve: Vec<(u32, Vec<usize>, u32)>,
    /// Value of the label that the host must have; any name where none.
    tier: Option<u8>,
    max_minutes: u32,
    reason_required: bool,
    mfa: bool,
}

/// One request with everything recorded for it.
#[derive(Debug, Clone)]
struct Case {
    person: usize,
    hosts: Vec<u8>,
    minutes: Option<u32>,
    reason: Option<String>,
    /// Seconds before now; of this request.
    factor: Option<(u32, bool)>,
    /// Person, seconds before now, of this request, of this role.
    approvals: Vec<(usize, u32, bool, bool)>,
    day: u8,
    age: u32,
}

fn member(index: usize) -> String {
    PEOPLE.get(index).map_or_else(|| format!("@g{}", index - PEOPLE.len()), |name| (*name).to_owned())
}

fn date(day: u8) -> String {
    let (month, day) = if day < 10 { (11, 21 + day) } else { (12, day - 9) };
    format!("2026-{month}-{day:02}")
}

impl Model {
    fn toml(&self) -> String {
        let list = |members: &[usize]| {
            members.iter().map(|m| format!("{:?}", member(*m))).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!("[defaults]\nmax = \"{}m\"\nduration = \"1m\"\n[people]\n", self.max_minutes);
        for (name, until) in PEOPLE.iter().zip(&self.person_until) {
            let until = until.map_or_else(String::new, |day| format!("until = {}", date(day)));
            text.push_str(&format!("{name} = {{ {until} }}\n"));
        }
        text.push_str(&format!("[groups]\ng0 = [{}]\n", list(&self.groups[0])));
        for (index, inner) in [(1, "\"@g0\""), (2, "\"@g1\"")] {
            text.push_str(&format!("g{index} = [{inner}, {}]\n", list(&self.groups[index])));
        }
        let who = self.who.iter().map(|(who, from, until)| {
            let kind = if *who < PEOPLE.len() { "person" } else { "group" };
            let from = from.map_or_else(String::new, |day| format!(", from = {}", date(day)));
            let until = until.map_or_else(String::new, |day| format!(", until = {}", date(day)));
            format!("{{ {kind} = {:?}{from}{until} }}", member(*who))
        });
        let approve = self.approve.iter().map(|(need, of, hours)| {
            format!("{{ need = {need}, of = [{}], within = \"{hours}h\" }}", list(of))
        });
        let hosts =
            self.tier.map_or_else(|| "names = [\"*\"]".to_owned(), |tier| format!("tier = \"t{tier}\""));
        text.push_str(&format!(
            "[roles.x-ops]\nwho = [{}]\nhosts = {{ {hosts} }}\nsudo = {{ as = \"root\", shell = true }}\n\
             reason = {:?}\nmfa = {:?}\napprove = [{}]\n",
            who.collect::<Vec<_>>().join(", "),
            if self.reason_required { "required" } else { "optional" },
            if self.mfa { "activation" } else { "none" },
            approve.collect::<Vec<_>>().join(", "),
        ));
        text
    }

    fn in_member(&self, person: usize, member: usize) -> bool {
        match member.checked_sub(PEOPLE.len()) {
            None => person == member,
            Some(group) => (0..=group).any(|inner| self.groups[inner].contains(&person)),
        }
    }

    fn alive(&self, person: usize, day: u8) -> bool {
        self.person_until[person].is_none_or(|until| day <= until)
    }

    /// What docs/policy.md says, as directly as it can be written.
    fn permits(&self, case: &Case) -> bool {
        let eligible = self.alive(case.person, case.day)
            && self.who.iter().any(|(who, from, until)| {
                self.in_member(case.person, *who)
                    && from.is_none_or(|from| from <= case.day)
                    && until.is_none_or(|until| case.day <= until)
            });
        let scope = case.hosts.iter().all(|tier| self.tier.is_none_or(|wanted| wanted == *tier));
        let minutes = case.minutes.unwrap_or(1);
        let long = case.reason.as_ref().is_some_and(|reason| reason.trim().chars().count() >= 10);
        let factor = !self.mfa || case.factor.is_some_and(|(age, own)| own && age <= 600);
        let counts = |rule: &(u32, Vec<usize>, u32), person: usize| {
            let given = case
                .approvals
                .iter()
                .any(|(by, age, request, role)| *by == person && *request && *role && *age < rule.2 * 3600);
            given
                && person != case.person
                && self.alive(person, case.day)
                && rule.1.iter().any(|member| self.in_member(person, *member))
        };
        // Hall: enough different people for every set of rules.
        let enough = (0..1usize << self.approve.len()).all(|set| {
            let rules =
                || self.approve.iter().enumerate().filter(move |(i, _)| set >> i & 1 == 1).map(|(_, r)| r);
            let people: BTreeSet<usize> =
                (0..PEOPLE.len()).filter(|person| rules().any(|rule| counts(rule, *person))).collect();
            people.len() >= rules().map(|rule| rule.0 as usize).sum()
        });
        eligible
            && scope
            && minutes > 0
            && minutes <= self.max_minutes
            && (long || !self.reason_required)
            && factor
            && enough
            && case.age < 86_400
    }
}

fn models() -> impl Strategy<Value = Model> {
    let people = || proptest::collection::vec(0..PEOPLE.len(), 1..4);
    let day = || proptest::option::weighted(0.3, 0u8..12);
    let window = (day(), day()).prop_map(|(from, until)| match (from, until) {
        (Some(from), Some(until)) if from > until => (Some(until), Some(from)),
        other => other,
    });
    let who = (0..PEOPLE.len() + 3, window).prop_map(|(who, (from, until))| (who, from, until));
    let rule = (1u32..3, proptest::collection::vec(0..PEOPLE.len() + 3, 1..4), 1u32..30);
    (
        proptest::collection::vec(proptest::option::weighted(0.2, 0u8..12), PEOPLE.len()),
        [people(), people(), people()],
        proptest::collection::vec(who, 1..4),
        proptest::collection::vec(rule, 0..4),
        (proptest::option::weighted(0.3, 0u8..2), 20u32..90, any::<bool>(), any::<bool>()),
    )
        .prop_map(|(person_until, groups, who, approve, (tier, max_minutes, reason_required, mfa))| {
            Model { person_until, groups, who, approve, tier, max_minutes, reason_required, mfa }
        })
}

fn cases() -> impl Strategy<Value = Case> {
    let mostly = || proptest::bool::weighted(0.9);
    let approval = (0..PEOPLE.len(), prop_oneof![3 => 0u32..3600, 1 => 0u32..110_000], mostly(), mostly());
    (
        (0..PEOPLE.len(), proptest::collection::vec(0u8..2, 1..3), proptest::option::of(0u32..60)),
        proptest::option::weighted(0.8, "[ a-z\u{e9}]{0,40}"),
        proptest::option::weighted(0.9, (0u32..800, mostly())),
        proptest::collection::vec(approval, 0..12),
        (0u8..12, 0u32..90_000),
    )
        .prop_map(|((person, hosts, minutes), reason, factor, approvals, (day, age))| Case {
            person,
            hosts,
            minutes,
            reason,
            factor,
            approvals,
            day,
            age,
        })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The facts of a case, noon of its day.
fn facts(policy: &Policy, case: &Case, now: Timestamp) -> Facts {
    let host = |(index, tier): (usize, &u8)| HostFacts {
        id: HostId::from_random([index as u8; 16]),
        name: name(&format!("h{index}")),
        labels: [(name("tier"), name(&format!("t{tier}")))].into(),
    };
    let request = Request {
        cluster: ClusterId::from_random([1; 16]),
        activation: ActivationId::from_random([2; 16]),
        person: name(PEOPLE[case.person]),
        role: name("x-ops"),
        hosts: case.hosts.iter().enumerate().map(host).collect(),
        duration: case.minutes.map(|minutes| Span(minutes * 60)),
        reason: case.reason.as_ref().map(|reason| reason.parse().unwrap()),
        ticket: None,
        asked_at: now.before(Span(case.age)),
    };
    let own = request_digest(&request).unwrap();
    let other = elevate_protocol::digest::Digest::of(b"another");
    let bound = |own_request| if own_request { own } else { other };
    let void = elevate_policy::RoleDigest::recorded(other);
    let role = role_digest(policy, &request.role, &request.person).unwrap_or(void);
    Facts {
        factor: case
            .factor
            .map(|(age, is_own)| FactorProof { checked_at: now.before(Span(age)), bound_to: bound(is_own) }),
        approvals: case
            .approvals
            .iter()
            .map(|(by, age, is_own, same_role)| RecordedApproval {
                approver: name(PEOPLE[*by]),
                at: now.before(Span(*age)),
                request: bound(*is_own),
                role: if *same_role { role } else { void },
            })
            .collect(),
        denial: None,
        role_digest: role,
        request,
    }
}

/// Never permitted when the reference says no, and permitted when it says yes; often enough of both.
#[test]
fn decide_permits_exactly_what_the_reference_permits() {
    let config = ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() };
    let counts = [Cell::new(0u32), Cell::new(0), Cell::new(0)];
    let count = |which: usize| counts[which].set(counts[which].get() + 1);
    TestRunner::new(config)
        .run(&(models(), cases()), |(model, case)| {
            count(check(&model, &case)?);
            Ok(())
        })
        .unwrap();
    let [unreadable, refused, permitted] = counts.map(|count| count.get());
    assert!(permitted > 200 && refused > 200 && unreadable < 3000, "{unreadable} {refused} {permitted}");
}

/// 0: no policy, 1: not permitted, 2: permitted.
fn check(model: &Model, case: &Case) -> Result<usize, TestCaseError> {
    let Ok(policy) = Policy::parse(&[("p.toml".into(), model.toml())]) else {
        // Only a rule that asks for more people than it names keeps such a policy from being read.
        let impossible = model.approve.iter().any(|(need, of, _)| {
            let named = (0..PEOPLE.len()).filter(|p| of.iter().any(|m| model.in_member(*p, *m)));
            named.count() < *need as usize
        });
        prop_assert!(impossible, "{}", model.toml());
        return Ok(0);
    };
    let now = Timestamp(DAY_0 + i64::from(case.day) * 86_400 + 43_200);
    let decision = decide(&policy, &facts(&policy, case, now), now);
    let permitted = matches!(decision, Decision::Permit(_));
    prop_assert_eq!(permitted, model.permits(case), "{:?}\n{}", decision, model.toml());
    if let Decision::Permit(permit) = decision {
        prop_assert!(permit.not_after() <= permit.not_after_most());
        prop_assert!(permit.not_after_most() <= now.after(Span(model.max_minutes * 60)));
        prop_assert!(permit.approvals().iter().all(|a| a.person != *permit.person()));
        let needed: u32 = model.approve.iter().map(|rule| rule.0).sum();
        prop_assert_eq!(permit.approvals().len(), needed as usize);
    }
    Ok(if permitted { 2 } else { 1 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_effective_policy_reads_back_as_itself(
        model in models(),
        title in "[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{200b}-\u{206f}\u{61c}\u{feff}\u{e0000}-\u{e007f}]{0,40}",
        warn in proptest::collection::vec(1u32..60, 0..5),
        comment in "[a-zA-Z0-9@.\"\\\\é ]{0,20}",
    ) {
        let key = format!("{} {}", KEY, comment.trim());
        let text = format!(
            "{}title = {}\nwarn = [{}]\nticket = {{ pattern = '\"?(INC|CHG)-[0-9]{{1,8}}', required = true }}\n\
             [people.zoe]\nkeys = [{}]\nlogin = \"zoe@corp.example\"\n",
            model.toml(),
            toml::Value::String(title),
            warn.iter().map(|seconds| format!("\"{seconds}s\"")).collect::<Vec<_>>().join(", "),
            toml::Value::String(key.trim().to_owned()),
        );
        // A rule of approval that asks for too many is no policy; see above.
        let Ok(policy) = Policy::parse(&[("p.toml".into(), text)]) else { return Err(TestCaseError::reject("no policy")) };
        let shown = policy.show_effective();
        let again = Policy::parse(&[("p.toml".into(), shown.clone())]).map_err(|e| {
            TestCaseError::fail(format!("{e}\n{shown}"))
        })?;
        prop_assert_eq!(&again, &policy, "{}", shown);
        prop_assert_eq!(again.show_effective(), shown);
    }

    /// No input makes the parser fail in another way than by findings that have a place.
    #[test]
    fn any_text_is_a_policy_or_findings(text in "\\PC{0,80}|(\\[(people|groups|roles\\.a|defaults)\\]\n[a-z]{1,6} = [\\[{\"a-z0-9, =}\\]]{0,20}\n){1,4}") {
        if let Err(error) = Policy::parse(&[("p.toml".into(), text)]) {
            prop_assert!(!error.findings().is_empty());
            prop_assert!(error.findings().iter().all(|f| f.line > 0 && f.column > 0 && !f.hint.is_empty()));
        }
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+mYzWkaEUJIVvYZMpVNakjHp1wuYLtEl2cXigLFFef";
