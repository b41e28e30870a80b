//! Lines of several connections in the order in which journald has them.

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);
const BEGIN: Boot = Boot(1_000_000);

fn place(before: &str) -> Place<'_> {
    Place { before: Some(before), now: BEGIN }
}

fn sshd(pid: u32, message: &str) -> Entry {
    Entry { who: Who::Sshd { pid }, at: NOW, cursor: String::new(), message: message.to_owned() }
}

fn grant(number: u8) -> ActivationId {
    ActivationId::from_random([number; 16])
}

fn program(sshd: u32, number: u8, said: Said) -> Entry {
    let asked = Asked { sshd, login: "deploy".parse().unwrap(), grant: grant(number), said };
    Entry { who: Who::Program, at: NOW, cursor: String::new(), message: asked.to_string() }
}

fn all(lines: &[Entry]) -> Vec<Refused> {
    let mut connections = Connections::default();
    let found = lines.iter().flat_map(|line| connections.take(place("x"), line)).collect();
    assert!(connections.all.is_empty());
    found
}

fn grants(found: &[Refused]) -> Vec<Option<ActivationId>> {
    found.iter().map(|one| one.grant).collect()
}

const EXPIRED: &str = "error: Certificate invalid: expired";
const REVOKED: &str = "error: Authentication key ED25519-CERT SHA256:x revoked by file /y";
const STRANGE: &str = "debug2: auth2-pubkey.c:user_cert_trusted_ca():507 (pid=7): CA ED25519 SHA256:y is not listed in /x: key not found";
const NOT_OPENED: &str = "error: Certificate does not contain an authorized principal";
const TAKEN: &str = "auth2-pubkey.c:user_cert_trusted_ca():568 (pid=7): Accepted certificate ID \"x\"";
const CLOSED: &str = "Connection closed by authenticating user deploy 10.0.0.7 port 1 [preauth]";
const LET_IN: &str = "Accepted publickey for deploy from 10.0.0.7 port 1 ssh2: ED25519 SHA256:x";

#[test]
fn a_certificate_that_is_over_is_told_with_its_grant_account_and_address_and_once() {
    let found = all(&[
        program(7, 1, Said::Yes),
        program(8, 2, Said::Yes),
        sshd(7, EXPIRED),
        sshd(8, CLOSED),
        sshd(7, CLOSED),
        sshd(7, CLOSED),
    ]);
    let (login, from) = (Some("deploy".to_owned()), Some("10.0.0.7".parse().unwrap()));
    let (refusal, said) = (Refusal::Asked, "Certificate invalid: expired".to_owned());
    let one = Refused { at: NOW, refusal, grant: Some(grant(1)), is_told: false, login, from, said };
    assert_eq!(found, [one]);
}

#[test]
fn several_certificates_of_one_connection_are_told_each_with_its_own_grant() {
    let found = all(&[
        sshd(7, REVOKED),
        program(7, 1, Said::Yes),
        sshd(7, EXPIRED),
        program(7, 2, Said::Yes),
        sshd(7, "error: Certificate invalid: not yet valid"),
        sshd(7, LET_IN),
    ]);
    assert_eq!(grants(&found), [None, Some(grant(1)), Some(grant(2))]);
}

/// Somebody shows another's certificate, which is no secret, and then one of their own that is refused.
#[test]
fn e16_a_grant_that_was_asked_about_is_not_that_of_the_next_certificate() {
    for between in [TAKEN, STRANGE, REVOKED] {
        let found = all(&[program(7, 1, Said::Yes), sshd(7, between), sshd(7, EXPIRED), sshd(7, CLOSED)]);
        assert!(grants(&found).iter().all(Option::is_none), "{between}: {found:?}");
    }
}

/// An ssh-agent offers all it has; a site may have a CA of its own in authorized_keys.
#[test]
fn a_certificate_of_another_ca_is_told_only_where_nobody_has_logged_in() {
    assert_eq!(all(&[sshd(7, STRANGE), sshd(7, LET_IN)]), []);
    assert_eq!(all(&[sshd(7, STRANGE), sshd(7, CLOSED)]).len(), 1);
    assert_eq!(all(&[sshd(7, REVOKED), sshd(7, LET_IN)]).len(), 1);
}

#[test]
fn what_the_program_has_said_of_it_goes_with_it() {
    for (said, is_told) in [(Said::Told, true), (Said::No, false)] {
        let found = all(&[program(7, 1, said), sshd(7, NOT_OPENED), sshd(7, CLOSED)]);
        assert_eq!(
            found.iter().map(|one| (one.grant, one.is_told)).collect::<Vec<_>>(),
            [(Some(grant(1)), is_told)]
        );
    }
    // The program hung, or is not there.
    let found = all(&[sshd(7, NOT_OPENED), sshd(7, CLOSED)]);
    assert_eq!(found.iter().map(|one| (one.grant, one.is_told)).collect::<Vec<_>>(), [(None, false)]);
}

#[test]
fn whoever_says_nothing_until_sshd_hangs_up_is_told_of_with_the_address() {
    let late = "Timeout before authentication for connection from 10.0.0.7 to 10.0.0.1, pid = 7";
    let found = all(&[program(7, 1, Said::Yes), sshd(7, EXPIRED), sshd(1, late)]);
    let told: Vec<_> = found.iter().map(|one| (one.login.as_deref(), one.from.is_some())).collect();
    assert_eq!(told, [(Some("deploy"), true)]);
}

#[test]
fn whoever_keeps_a_connection_open_or_opens_many_is_told_of_without_an_address() {
    let mut connections = Connections::default();
    for pid in 1..=1024 {
        assert_eq!(connections.take(place("x"), &sshd(pid, REVOKED)), []);
    }
    assert_eq!(connections.take(place("x"), &sshd(2000, REVOKED)).len(), 1);
    assert_eq!(connections.overdue(BEGIN.after(OVERDUE)), []);
    let found = connections.overdue(BEGIN.after(Span(151)));
    assert!(found.len() == 1024 && found.iter().all(|one| one.from.is_none()) && connections.all.is_empty());
    for _ in 0..100 {
        assert_eq!(connections.take(place("x"), &sshd(1, REVOKED)), []);
    }
    assert_eq!(connections.overdue(BEGIN.after(Span(151))).len(), 16);
}

/// What is known of a connection that is still open is read again by the next agent.
#[test]
fn an_agent_after_this_one_begins_before_the_oldest_connection_that_is_open() {
    let mut connections = Connections::default();
    assert_eq!(connections.take(place("z"), &program(6, 1, Said::Yes)), []);
    assert_eq!(connections.resume(), None, "there is nothing to tell of it");
    for (before, line) in [("a", sshd(9, EXPIRED)), ("b", sshd(8, EXPIRED)), ("c", sshd(9, EXPIRED))] {
        assert_eq!(connections.take(place(before), &line), []);
    }
    assert_eq!(connections.resume(), Some("a"));
    assert_eq!(connections.take(place("d"), &sshd(9, CLOSED)).len(), 2);
    assert_eq!(connections.resume(), Some("b"));
    assert_eq!(connections.take(place("e"), &sshd(8, CLOSED)).len(), 1);
    assert_eq!(connections.resume(), None);
}
