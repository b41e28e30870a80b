//! `elevate why` and `elevate can-i`: which of a person's roles would do, and why the others would not.
//!
//! In: the policy, a person, a host, a command or a role, the time. Out: [`Explanation`]. It grants nothing.
//! Only roles that name the person are told of. Spec: docs/policy.md "Reasons".

use elevate_protocol::name::Name;
use elevate_protocol::sudo::{Allowed, Command};
use elevate_protocol::time::Timestamp;

use super::approvals::rule_needs;
use super::eligible::{in_scope, right};
use super::facts::HostFacts;
use super::reason::{Reason, Standing, Support};
use crate::policy::Policy;
use crate::policy::role::Role;

/// Why something may or may not be activated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The roles that would do, by name; none: the answer is no.
    pub roles: Vec<Name>,
    /// What was found, with the role that it is about.
    pub reasons: Vec<(Option<Name>, Reason)>,
}

impl Explanation {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let role = self.roles.first().map(|role| format!("elevate {role}"));
        role.or_else(|| self.reasons.iter().find_map(|(_, reason)| reason.hint()))
    }
}

/// Which of a person's roles allows a command on a host at this time. A command without a slash is looked for by
/// its file name, as sudo finds it on its path; `sudoedit FILE` asks for files.
#[must_use]
pub fn explain(
    policy: &Policy,
    person: &Name,
    host: &HostFacts,
    argv: &[String],
    now: Timestamp,
) -> Explanation {
    let mut told = Explanation { roles: Vec::new(), reasons: Vec::new() };
    let mine =
        policy.roles().filter(|role| role.who.iter().any(|entry| policy.is_member(person, &entry.who)));
    for role in mine {
        let mut found = stands(policy, role, person, Some(host), now);
        if found.iter().all(Reason::speaks_for) {
            found.push(command(role, argv));
        }
        told.add(role, found);
    }
    if told.reasons.is_empty() {
        let reason = match policy.person(person) {
            None => Standing::UnknownPerson { person: person.clone() },
            Some(_) => Standing::NoRole { person: person.clone() },
        };
        told.reasons.push((None, reason.into()));
    }
    told
}

/// Whether a person could activate a role at this time; on this host, where one is named.
#[must_use]
pub fn can_i(
    policy: &Policy,
    person: &Name,
    role: &Name,
    host: Option<&HostFacts>,
    now: Timestamp,
) -> Explanation {
    let mut told = Explanation { roles: Vec::new(), reasons: Vec::new() };
    let Some(role) = policy.role(role) else {
        told.reasons.push((None, Standing::UnknownRole { role: role.clone() }.into()));
        return told;
    };
    let mut found = stands(policy, role, person, host, now);
    if found.iter().all(Reason::speaks_for) {
        let needs = rule_needs(policy, role, person, now);
        if needs.is_empty() {
            found.push(Support::NobodyAsked { role: role.name.clone() }.into());
        }
        found.extend(
            needs.into_iter().map(|need| {
                Support::WouldNeed { role: role.name.clone(), need: need.need, of: need.of }.into()
            }),
        );
    }
    told.add(role, found);
    told
}

impl Explanation {
    fn add(&mut self, role: &Role, found: Vec<Reason>) {
        if found.iter().all(Reason::speaks_for) {
            self.roles.push(role.name.clone());
        }
        self.reasons.extend(found.into_iter().map(|reason| (Some(role.name.clone()), reason)));
    }
}

/// The right and the host.
fn stands(
    policy: &Policy,
    role: &Role,
    person: &Name,
    host: Option<&HostFacts>,
    now: Timestamp,
) -> Vec<Reason> {
    let until = match right(policy, person, &role.name, now) {
        Ok(right) => right.end.map(|(at, _)| at),
        Err(standing) => return vec![standing.into()],
    };
    let mut found = vec![Support::Eligible { person: person.clone(), role: role.name.clone(), until }.into()];
    if let Some(host) = host {
        found.push(match in_scope(role, host) {
            Ok(()) => Support::HostInScope { role: role.name.clone(), host: host.name.clone() }.into(),
            Err(standing) => standing.into(),
        });
    }
    found
}

/// Whether the role allows the command, or what it allows that is near.
fn command(role: &Role, argv: &[String]) -> Reason {
    let name = role.name.clone();
    let (run, edit) = match role.sudo().map(|sudo| (sudo.allowed(), sudo.run_as())) {
        None => return Standing::CommandNotAllowed { role: name, nearest: Vec::new() }.into(),
        Some((Allowed::Everything, run_as)) => {
            return Support::AnythingAllowed { role: name, run_as: run_as.clone() }.into();
        }
        Some((Allowed::Only { run, edit }, _)) => (run, edit),
    };
    let (program, args) = match argv.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", argv),
    };
    if program == "sudoedit" {
        let listed = |file: &String| edit.iter().any(|path| path.as_str() == file);
        return if !args.is_empty() && args.iter().all(listed) {
            Support::CommandAllowed { role: name, command: argv.join(" ") }.into()
        } else {
            let nearest =
                edit.iter().take(NEAREST).map(|path| format!("sudoedit {}", path.as_str())).collect();
            Standing::CommandNotAllowed { role: name, nearest }.into()
        };
    }
    let same: Vec<&Command> = run.iter().filter(|command| is_program(command, program)).collect();
    match same.iter().find(|command| command.args() == args) {
        Some(command) => Support::CommandAllowed { role: name, command: command.to_string() }.into(),
        None => {
            let nearest = same.iter().take(NEAREST).map(ToString::to_string).collect();
            Standing::CommandNotAllowed { role: name, nearest }.into()
        }
    }
}

fn is_program(command: &Command, program: &str) -> bool {
    let path = command.path().as_str();
    path == program || (!program.contains('/') && path.rsplit('/').next() == Some(program))
}

/// How many commands are told as near.
const NEAREST: usize = 3;
