//! What stands in sudoers(5) files that would switch the gate off, and whether sudo can read them all.
//!
//! In: /etc/sudoers and the files that it names. Out: findings with file and line. A scan of text: sudo itself has no list of the
//! `Defaults` that hold for one person only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child;
use crate::flavour::{self, Dialect};

use super::changes;

/// How long visudo may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Most files looked into.
const FILES_MAX: usize = 512;
/// Options that make sudo pass by our lines.
const SWITCHES: [&str; 5] =
    ["!pam_acct_mgmt", "!pam_session", "pam_service", "pam_login_service", "pam_askpass_service"];

/// One option that switches PAM off or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switch {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line number from 1.
    pub(crate) line: usize,
    /// The option.
    pub(crate) option: &'static str,
}

/// Whether `visudo -c` of the installed sudo takes every file; what it says otherwise. None when there is no visudo.
#[must_use]
pub(crate) fn parses(dialect: Dialect) -> Option<Result<(), String>> {
    let visudo = flavour::visudo(dialect)?;
    let answer = child::run(&visudo, &["-c"], DEADLINE).ok()?;
    Some(if answer.code == Some(0) { Ok(()) } else { Err(format!("{}{}", answer.stdout, answer.stderr)) })
}

/// Looks for options that switch PAM's account phase off or send it elsewhere.
#[must_use]
pub(crate) fn switches(etc: &Path) -> Vec<Switch> {
    let mut files = vec![etc.join("sudoers"), etc.join("sudoers-rs")];
    if let Ok(entries) = std::fs::read_dir(etc.join("sudoers.d")) {
        let mut inner: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inner.sort();
        files.extend(inner.into_iter().take(FILES_MAX));
    }
    let mut found = Vec::new();
    for file in files {
        if let Ok(Some(stood)) = changes::read(&file) {
            let text = stood.text().unwrap_or_default();
            found.extend(in_text(text).into_iter().map(|(line, option)| Switch {
                file: file.clone(),
                line,
                option,
            }));
        }
    }
    found
}

fn in_text(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut goes_on = false;
    // How many `!` stand before the next word: sudoers(5) takes several, and space behind them.
    let mut negations = 0usize;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim_start();
        let rest = if goes_on { Some(line) } else { line.strip_prefix("Defaults") };
        if !goes_on {
            negations = 0;
        }
        goes_on = rest.is_some() && line.ends_with('\\');
        let Some(rest) = rest else { continue };
        let spaced = rest.replace('!', " ! ");
        for word in spaced.split([',', ' ', '\t', '=', '\\']).filter(|word| !word.is_empty()) {
            if word == "!" {
                negations = negations.saturating_add(1);
                continue;
            }
            let option = SWITCHES.iter().find(|option| match option.strip_prefix('!') {
                Some(name) => name == word && negations % 2 == 1,
                None => **option == word,
            });
            found.extend(option.map(|option| (index.saturating_add(1), *option)));
            negations = 0;
        }
    }
    found
}

/// `#` begins a comment, except before a digit, where it is a uid (sudoers(5) "User specification").
fn without_comment(line: &str) -> &str {
    let is_uid = |at: usize| line.as_bytes().get(at.saturating_add(1)).is_some_and(u8::is_ascii_digit);
    let comment = line.match_indices('#').map(|(at, _)| at).find(|at| !is_uid(*at));
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_pass_by_the_gate_are_found_wherever_they_stand() {
        let text = "Defaults env_reset\nDefaults:alice use_pty, !pam_acct_mgmt\n# Defaults !pam_acct_mgmt\n\
                    Defaults!/usr/bin/id use_pty, \\\n  pam_service=other\nalice ALL=(ALL) ALL\nDefaults pam_acct_mgmt\n";
        assert_eq!(in_text(text), [(2, "!pam_acct_mgmt"), (5, "pam_service")]);
        // All of these parse: space behind the negation, three of them, a uid, a line that goes on.
        let text = "Defaults ! pam_acct_mgmt\nDefaults !!!pam_session\nDefaults:#2000 !pam_acct_mgmt # why\n\
                    Defaults use_pty, ! \\\n pam_session\nDefaults !!pam_session\nDefaults use_pty # !pam_session\n";
        let acct = "!pam_acct_mgmt";
        assert_eq!(in_text(text), [(1, acct), (2, "!pam_session"), (3, acct), (5, "!pam_session")]);
    }

    #[test]
    fn the_sudoers_of_this_machine_parse_and_switch_nothing_off() {
        assert_eq!(parses(Dialect::Classic), Some(Ok(())));
        assert_eq!(switches(Path::new("/etc")), []);
    }
}
