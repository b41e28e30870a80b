//! What `elevate-agent doctor` finds about sshd: whether certificates open accounts, which it takes, what it shows and what it logs.
//!
//! In: the host as it is. Out: findings. Changes nothing.

use elevate_protocol::host_ssh::HostName;

use super::super::ssh;
use super::{AGAIN, Finding, bad};
use crate::clock::{self, Moment};
use crate::config;
use crate::host_keys;
use crate::journal;
use crate::paths::Paths;
use crate::revoked;
use crate::sshd::{self, SshdError};
use crate::sshd_log::reading;
use crate::status;

/// Everything about it. What it does with our file is looked at where that is there.
pub(super) fn findings(paths: &Paths) -> Vec<Finding> {
    let mut findings = vec![enforcement(paths)];
    if paths.sshd_file.exists() {
        if let Ok(settings) = ssh::settings() {
            findings.extend(accounts(&settings));
        }
        findings.push(list(paths));
        findings.push(log(paths));
    }
    findings.extend(host_certificates(paths));
    findings
}

/// A host whose sshd has rules of its own is as it should be: roles with logins are refused there.
fn enforcement(paths: &Paths) -> Finding {
    if paths.sshd_unproved.exists() && paths.sshd_file.exists() {
        let what = "enrolment was cut off before it was proved that sshd lets in whom it let in before";
        return bad(what.to_owned(), AGAIN);
    }
    match sshd::enforcement(paths).map(|_| ssh::effective(paths)) {
        Ok(Ok(())) => {
            Finding::Good("sshd asks which certificates open an account, and tells of connections".to_owned())
        }
        Ok(Err(error)) => bad(journal::chain(&error), "sshd -t, sshd -T, then edit what they name"),
        Err(SshdError::NoSshd) => Finding::Good("there is no sshd: certificates open nothing".to_owned()),
        Err(error @ (SshdError::File { .. } | SshdError::PamLine { .. } | SshdError::SitesList { .. }))
            if paths.sshd_file.exists() =>
        {
            bad(error.to_string(), AGAIN)
        }
        Err(error @ SshdError::Algorithm { .. }) => {
            bad(error.to_string(), "edit that line, then have sshd read it: systemctl reload ssh")
        }
        Err(error) => {
            Finding::Note(format!("certificates of grants open nothing here: {error}"), AGAIN.to_owned())
        }
    }
}

/// Whom sshd lets in at all comes before what certificates open.
fn accounts(settings: &str) -> Option<Finding> {
    let limits = ["allowusers ", "allowgroups ", "denyusers ", "denygroups "];
    let found: Vec<&str> =
        settings.lines().filter(|line| limits.iter().any(|limit| line.starts_with(limit))).collect();
    let what = format!("sshd lets in by more than certificates: {}", found.join(", "));
    let fix = "see that the accounts of your roles are let in by it (sshd_config(5))";
    (!found.is_empty()).then(|| Finding::Note(what, fix.to_owned()))
}

/// sshd's list of revoked certificates.
fn list(paths: &Paths) -> Finding {
    let path = paths.revoked.display();
    match (sshd::names_list(paths), sshd::list_of_site(paths)) {
        (false, Some(place)) => {
            Finding::Good(format!("{place} names sshd's list of revoked keys, so ours is not read"))
        }
        (false, None) => {
            Finding::Note("sshd reads no list of revoked certificates".to_owned(), AGAIN.to_owned())
        }
        (true, _) => match revoked::read(paths) {
            Ok(Some(list)) => Finding::Good(format!(
                "{path}: version {}, certificates of {} grants are revoked",
                list.version,
                list.grants.len()
            )),
            Ok(None) => bad(format!("{path} is not a list of ours: sshd may take no key at all"), AGAIN),
            Err(error) => bad(format!("sshd takes no key at all: {}", journal::chain(&error)), AGAIN),
        },
    }
}

/// Whether what sshd refuses without asking us comes to the audit log.
fn log(paths: &Paths) -> Finding {
    if reading::program().is_none() || reading::written(paths).is_none() {
        let what = "there is no journal here: what sshd refuses by itself is in its own log only";
        return Finding::Note(what.to_owned(), "systemctl start systemd-journald".to_owned());
    }
    let problem = status::load(paths).ok().and_then(|status| status.sshd_log);
    problem.map_or_else(
        || Finding::Good("what sshd refuses by itself is told too".to_owned()),
        |why| bad(format!("what sshd refuses by itself is not known: {why}"), "journalctl -t sshd"),
    )
}

/// What people see who ask whether this is the host. Without a certificate `elevate ssh` logs in only where the plain key is known.
fn host_certificates(paths: &Paths) -> Vec<Finding> {
    let Moment { wall: now, boot } = clock::read();
    // Without an identity there is none: `identity` says so.
    let Ok(own) = config::load(paths).map(|found| found.config.host) else { return Vec::new() };
    let host_keys::Found { shown, clash } = match host_keys::look(paths, (own, now)) {
        Ok(found) => found,
        Err(error) => return vec![bad(journal::chain(&error), "sshd -t, then edit what it names")],
    };
    if shown.is_empty() {
        let is_ours = paths.sshd_file.exists() && sshd::enforcement(paths).is_ok();
        let what = "sshd shows no certificate of Elevate's: people have to know its plain key".to_owned();
        return if is_ours { vec![Finding::Note(what, AGAIN.to_owned())] } else { Vec::new() };
    }
    let is_awaited = status::load(paths).is_ok_and(|status| status.awaits_certificates(boot));
    let tell = |host_keys::Shown { place, proof, .. }| match proof {
        Some(proof) => {
            let names: Vec<&str> = proof.names.all().iter().map(HostName::as_str).collect();
            let left = proof.valid_before.since(now);
            Finding::Good(format!("{}: for {}, {left} left", place.display(), names.join(", ")))
        }
        None if is_awaited => Finding::Note(
            format!("{} is on its way: until then people have to know the plain key", place.display()),
            "elevate-agent doctor    (again, in a minute)".to_owned(),
        ),
        None => bad(
            format!("{} is no certificate that holds: people have to know the plain key", place.display()),
            "systemctl restart elevate-agent: it asks the daemon for another one at once, and by itself within an hour",
        ),
    };
    let fix = "take out that HostCertificate; or elevate-agent enroll, which leaves it to the site's own";
    let clash = clash.map(|file| bad(host_keys::clashes(&file), fix));
    shown.into_iter().map(tell).chain(clash).collect()
}
