//! `elevate-agent doctor`: one line per thing that must hold, and what to type where it does not.
//!
//! In: the host as it is. Out: lines on standard output, exit code 1 when something is wrong. Changes nothing.

mod of_sshd;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use elevate_protocol::text::escape;

use crate::child;
use crate::clock;
use crate::config;
use crate::flavour::{Dialect, Sudo};
use crate::journal;
use crate::life::{self, Life};
use crate::module_file;
use crate::nss;
use crate::paths::Paths;
use crate::probe::{self, INCLUDE, MODULE, SERVICES};
use crate::status;
use crate::sudoers_files;

use super::canary;
use super::changes;
use super::checks::{self, LINK_ACCOUNT};
use super::flow::link_folder;
use super::pam_lines;
use super::sudoers;

const AGAIN: &str = "elevate-agent enroll    (on an enrolled host it only puts its lines back)";

/// What was found about one thing.
#[derive(Debug)]
enum Finding {
    /// It holds.
    Good(String),
    /// It does not; what to type.
    Bad(String, String),
    /// It may be as it should; what to type if not.
    Note(String, String),
}

fn bad(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding::Bad(what.into(), fix.into())
}

/// Looks at everything and prints what was found.
pub(crate) fn run(paths: &Paths) -> ExitCode {
    if let Err(error) = checks::root(paths) {
        return journal::fatal(&error);
    }
    let found = Sudo::ask();
    let mut findings = vec![identity(paths), sudo(&found)];
    let fix = "update sudo by the packages of the distribution";
    findings.extend(found.notes().into_iter().map(|note| Finding::Note(note, fix.to_owned())));
    findings.push(module(paths));
    findings.extend(SERVICES.map(|service| lines(paths, service)));
    findings.extend([include(paths, &found), parse(&found)]);
    findings.extend(switches(paths));
    findings.extend(of_sshd::findings(paths));
    findings.extend([leftover(paths), vouch_key(paths), link_key(paths)]);
    findings.extend(agent(paths));
    findings.push(clock_is_right(paths));
    let mut wrong = false;
    for finding in findings {
        let line = match finding {
            Finding::Good(what) => format!("ok       {}\n", escape(&what)),
            Finding::Note(what, fix) => {
                format!("note     {}\n         perhaps: {}\n", escape(&what), escape(&fix))
            }
            Finding::Bad(what, fix) => {
                wrong = true;
                format!("problem  {}\n         do: {}\n", escape(&what), escape(&fix))
            }
        };
        journal::show(&line);
    }
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn identity(paths: &Paths) -> Finding {
    match config::load(paths) {
        Ok(found) => Finding::Good(format!("enrolled as {} with {}", found.config.name, found.config.daemon)),
        Err(error) => bad(
            journal::chain(&error),
            "elevate-agent enroll < PASTE    (PASTE: from `elevatectl host invite`)",
        ),
    }
}

fn sudo(found: &Sudo) -> Finding {
    match found {
        Sudo::Classic { line, .. } => Finding::Good(line.escaped()),
        Sudo::Rs { line, .. } => {
            Finding::Good(format!("{}, for which rules have no NOTAFTER", line.escaped()))
        }
        Sudo::Other { line } => {
            bad(format!("{} does not enforce here", line.escaped()), "apt-get install sudo")
        }
        Sudo::Absent => bad("there is no sudo", "apt-get install sudo"),
    }
}

fn module(paths: &Paths) -> Finding {
    let fix = "make install, or install the package again";
    let Some(path) = checks::module(paths) else { return bad(format!("{MODULE} is missing"), fix) };
    match fs::metadata(&path) {
        Ok(meta) if meta.uid() == 0 && meta.mode() & 0o022 == 0 => {
            if module_file::is_loadable(&path).unwrap_or(false) {
                Finding::Good(path.display().to_string())
            } else {
                bad(format!("{} is not whole, or not for this machine", path.display()), fix)
            }
        }
        Ok(_) | Err(_) => bad(format!("{} can be changed by others than root", path.display()), fix),
    }
}

fn lines(paths: &Paths, service: &str) -> Finding {
    let path = paths.pam_services.join(service);
    let text = changes::read(&path).ok().flatten();
    match text.as_ref().and_then(changes::Stood::text) {
        Some(text) if pam_lines::is_in_place(text, pam_lines::Service::Sudo) => {
            Finding::Good(format!("{}: the gate comes first", path.display()))
        }
        Some(text) => {
            let fix = match pam_lines::without(text) {
                Ok(_) => AGAIN.to_owned(),
                Err(error) => format!("edit it: {error}; then {AGAIN}"),
            };
            bad(format!("{} does not have our lines first", path.display()), fix)
        }
        None => {
            bad(format!("{} is missing or not root's alone", path.display()), "install sudo's package again")
        }
    }
}

fn include(paths: &Paths, sudo: &Sudo) -> Finding {
    let place = probe::include_place(paths, sudo.dialect().unwrap_or(Dialect::Classic));
    let stood = changes::read(place).ok().flatten();
    let text = stood.as_ref().and_then(changes::Stood::text).unwrap_or_default();
    if text.lines().any(|line| line == INCLUDE) {
        Finding::Good(format!("{}: sudo reads the managed rules", place.display()))
    } else {
        bad(format!("{} does not have the line {INCLUDE}", place.display()), AGAIN)
    }
}

fn parse(sudo: &Sudo) -> Finding {
    match sudo.dialect().and_then(sudoers::parses) {
        Some(Ok(())) => Finding::Good("visudo takes every sudoers file".to_owned()),
        Some(Err(said)) => {
            bad(format!("a sudoers file is not valid: {}", said.trim()), "visudo -c, then edit what it names")
        }
        None => bad("visudo does not answer", "install sudo's package again"),
    }
}

fn switches(paths: &Paths) -> Vec<Finding> {
    let found = match sudoers_files::switches(&paths.root) {
        Ok(found) => found,
        Err(error) => return vec![bad(error.to_string(), "visudo, and take out what names it")],
    };
    if found.is_empty() {
        return vec![Finding::Good("no Defaults switch PAM off or elsewhere".to_owned())];
    }
    let tell = |switch: sudoers_files::Switch| {
        let place = format!("{}:{}", switch.file.display(), switch.line);
        bad(
            format!("{place}: `{}` lets sudo pass by the gate", switch.option),
            format!("visudo -f {}", switch.file.display()),
        )
    };
    found.into_iter().map(tell).collect()
}

fn leftover(paths: &Paths) -> Finding {
    let rule = paths.include.with_file_name(canary::RULE);
    if fs::symlink_metadata(&rule).is_ok() {
        return bad(
            format!("{} is left from an enrolment that was killed", rule.display()),
            format!("rm {}", rule.display()),
        );
    }
    Finding::Good("nothing is left of the proof".to_owned())
}

fn private(path: &Path, uid: u32, login: &str) -> Finding {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.uid() == uid && meta.mode() & 0o7777 == 0o600 => {
            Finding::Good(format!("{shown} is {login}'s alone"))
        }
        Ok(meta) if meta.is_file() => bad(
            format!("{shown} is not {login}'s alone"),
            format!(
                "chown {login}: {shown} && chmod 0600 {shown}    (others may have read it: unenroll, then enroll)"
            ),
        ),
        Ok(_) | Err(_) => bad(
            format!("{shown} is missing or no plain file"),
            "elevate-agent unenroll, then enroll with a new paste string",
        ),
    }
}

fn vouch_key(paths: &Paths) -> Finding {
    private(&paths.vouch_key, 0, "root")
}

fn link_key(paths: &Paths) -> Finding {
    match nss::by_login(LINK_ACCOUNT) {
        Ok(Some(account)) => private(&link_folder(paths).join("key"), account.uid, LINK_ACCOUNT),
        Ok(None) => bad(format!("there is no account {LINK_ACCOUNT}"), "systemd-sysusers"),
        Err(error) => bad(journal::chain(&error), "getent passwd elevate-link"),
    }
}

/// Whether the agent answers, and what it says of itself: whether rules can be enforced, whether the daemon is connected. A
/// status file of an agent that does not answer says nothing.
fn agent(paths: &Paths) -> Vec<Finding> {
    if life::of_agent(&paths.agent_socket) != Life::Answers {
        let fix = "systemctl restart elevate-agent    (then: journalctl -u elevate-agent)";
        return vec![bad("the agent does not answer", fix)];
    }
    let mut findings = vec![Finding::Good("the agent answers".to_owned())];
    match status::load(paths) {
        Ok(status) => {
            findings.push(match status.hindrance {
                None => Finding::Good("the agent can enforce rules here".to_owned()),
                Some(why) => bad(format!("the agent enforces no rule here: {why}"), AGAIN),
            });
            if let Some(why) = status.revocation {
                let what = format!("sshd's list of revoked certificates is the one of before: {why}");
                findings.push(bad(what, "install openssh-client, make room; then it is made by itself"));
            }
            let fix = "systemctl start elevate-link    (then: journalctl -u elevate-link)";
            findings.push(match (status.connected, status.new_epoch) {
                (true, _) => Finding::Good("the daemon is connected".to_owned()),
                (false, None) => bad("the daemon is not connected", fix),
                (false, Some(epoch)) => {
                    let fix = format!("ask who runs the daemon, then: elevate-agent confirm-epoch {epoch}");
                    bad(status::another_log(epoch), fix)
                }
            });
        }
        Err(error) => findings.push(bad(journal::chain(&error), "systemctl restart elevate-agent")),
    }
    findings
}

/// A clock that is behind what this host has already seen was set back.
fn clock_is_right(paths: &Paths) -> Finding {
    let now = clock::read().wall;
    let written = fs::metadata(&paths.config).map(|meta| meta.mtime()).unwrap_or_default();
    if now.0 < written {
        return bad("the clock is behind the moment of the enrolment", "set it: timedatectl set-ntp true");
    }
    let timedatectl = Paths::program("timedatectl").filter(|_| Path::new("/run/systemd/system").is_dir());
    let asked = timedatectl.and_then(|program| {
        child::run(&program, &["show", "--property=NTPSynchronized", "--value"], Duration::from_secs(10)).ok()
    });
    match asked.map(|answer| answer.stdout.trim().to_owned()).as_deref() {
        // In a container somebody else sets the clock; one that is far off is refused by the daemon at each connection.
        Some("no") => Finding::Note(
            "this system does not synchronise the clock itself".to_owned(),
            "timedatectl set-ntp true".to_owned(),
        ),
        Some(_) | None => Finding::Good("the clock is not behind".to_owned()),
    }
}
