//! The text of one person's drop-in, from all grants that are in force for the uid.
//!
//! In: [`LiveGrant`]s of one uid. Out: sudoers(5) text without Defaults, without free text, without names of hosts.
//! Spec: docs/architecture.md "sudo". Threats A02, A14, A16, A18. Whatever is written here is read back by [`super::reader`].

use std::collections::BTreeSet;

use elevate_protocol::date::{self, DateError};
use elevate_protocol::signed::LiveGrant;
use elevate_protocol::sudo::{Allowed, Command};
use elevate_protocol::time::Timestamp;

use crate::flavour::Dialect;

/// What the first line of every drop-in begins with.
pub(crate) const HEAD: &str = "# elevate grants";

/// The drop-in for `uid`, as the installed sudo reads it. Empty when there is nothing in force; an empty file is never installed.
///
/// # Errors
/// [`DateError`] for an end that sudoers cannot write.
pub(crate) fn drop_in(dialect: Dialect, uid: u32, grants: &[LiveGrant<'_>]) -> Result<String, DateError> {
    let mut ids = BTreeSet::new();
    let mut lines = BTreeSet::new();
    for live in grants {
        let grant = live.grant();
        let Some(sudo) = &grant.sudo else { continue };
        ids.insert(grant.id.to_string());
        // NOTAFTER includes its second, not_after does not (THREATS X-c).
        let last = date::write(Timestamp(live.not_after().0.saturating_sub(1)))?;
        let last = match dialect {
            Dialect::Classic => format!(" NOTAFTER={last}"),
            Dialect::Rs => String::new(),
        };
        let run_as = sudo.run_as();
        for command in commands(sudo.allowed()) {
            lines.insert(format!("#{uid} ALL=({run_as}){last} NOPASSWD: {command}\n"));
        }
    }
    if ids.is_empty() {
        return Ok(String::new());
    }
    let ids: Vec<String> = ids.into_iter().collect();
    let lines: String = lines.into_iter().collect();
    Ok(format!("{HEAD} {}\n{lines}", ids.join(" ")))
}

fn commands(allowed: &Allowed) -> Vec<String> {
    match allowed {
        Allowed::Everything => vec!["ALL".to_owned()],
        Allowed::Only { run, edit } => {
            let edit = edit.iter().map(|path| format!("sudoedit {}", path.as_str()));
            run.iter().map(command).chain(edit).collect()
        }
    }
}

fn command(command: &Command) -> String {
    let mut text = command.path().as_str().to_owned();
    if command.args().is_empty() {
        // Without `""` sudo would allow any arguments.
        text.push_str(" \"\"");
    }
    for argument in command.args() {
        text.push(' ');
        for letter in argument.chars() {
            if matches!(letter, '=' | ':' | ',') {
                text.push('\\');
            }
            text.push(letter);
        }
    }
    text
}
