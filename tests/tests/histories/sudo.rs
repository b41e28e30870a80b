//! What the real sudo says on a host.
//!
//! In: a host, a person. Out: whom it lets in, by a real call and by its own listing.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use elevate_tests::Host;

use crate::model::{PEOPLE, Role};

/// The command of a role.
pub(crate) fn command(role: Role) -> &'static str {
    if role == Role::Quick { "/usr/bin/id" } else { "/usr/bin/whoami" }
}

pub(crate) const ROLES: [Role; 2] = [Role::Quick, Role::Ops];

/// An ordinary rule that everybody in the policy has beside Elevate.
pub(crate) const OWN_RULE: &str = "alice,bob,carol ALL=(root) NOPASSWD: /usr/bin/true\n";

/// Each role's command once, then the ordinary one. A call that meets the end of a right is sent back once, by design, and so
/// is one that began before the rules changed: the ordinary command is tried again.
const TRY: &str = "for command in /usr/bin/id /usr/bin/whoami; do sudo -n $command > /dev/null 2>&1 && echo in || echo out; done; \
    for n in 1 2 3; do sudo -n /usr/bin/true > /dev/null 2>&1 && { echo own; break; }; done";

/// Milliseconds since 1970.
pub(crate) fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Whether a person is let in to the command of each role. The ordinary rule has to work, whatever is going on.
pub(crate) fn lets_in(host: &Host, person: &str) -> Result<[bool; 2]> {
    let said = host.run(person, ["sh", "-c", TRY])?.stdout;
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap_or_default();
    let found = [next() == "in", next() == "in"];
    ensure!(
        person == "mallory" || next() == "own",
        "the ordinary rule of {person} on {} does not work:\n{said}",
        host.name()
    );
    Ok(found)
}

/// Until when sudo's own listing, asked for by root, lets each person in to the command of each role, in seconds since 1970.
fn lists(host: &Host) -> Result<Vec<[Option<i64>; 2]>> {
    let each = format!("for person in {}; do echo =; sudo -n -l -U $person; done", PEOPLE.join(" "));
    let ran = host.run("root", ["sh", "-c", &each])?;
    ensure!(!ran.stderr.contains("syntax") && !ran.stderr.contains("parse"), "{ran}");
    let mut found = Vec::new();
    for listing in ran.stdout.split("=\n").skip(1) {
        let mut of_person = [None, None];
        for line in listing.lines() {
            for (until, role) in of_person.iter_mut().zip(ROLES) {
                if line.contains(command(role)) {
                    *until = Some(end_of(line).with_context(|| format!("a rule without an end: {ran}"))?);
                }
            }
        }
        found.push(of_person);
    }
    ensure!(found.len() == PEOPLE.len(), "{ran}");
    Ok(found)
}

/// What sudo said about one person, for each role; moments in milliseconds since 1970, each before sudo was asked.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) person: &'static str,
    pub(crate) listed_at: i64,
    /// The last second in which the listed rule counts.
    pub(crate) listed: [Option<i64>; 2],
    pub(crate) called_at: i64,
    pub(crate) let_in: [bool; 2],
}

/// Asks the sudo of a host about everybody.
pub(crate) fn look(host: &Host) -> Result<Vec<Seen>> {
    let listed_at = now()?;
    let each = PEOPLE.into_iter().zip(lists(host)?).map(|(person, listed)| {
        let called_at = now()?;
        let let_in = lets_in(host, person)?;
        Ok(Seen { person, listed_at, listed, called_at, let_in })
    });
    each.collect()
}

/// The end in `NOTAFTER=YYYYMMDDHHMMSSZ`: the last second in which the rule counts.
fn end_of(line: &str) -> Option<i64> {
    let digits = line.split("NOTAFTER=").nth(1)?.get(..14)?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    // Days since 1970, the year beginning with March so that the odd day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[test]
fn an_end_is_read_as_date_writes_it() {
    for (text, seconds) in
        [("19700101000000", 0), ("20000229120000", 951_825_600), ("20261122053900", 1_795_325_940)]
    {
        assert_eq!(end_of(&format!("    (root) NOTAFTER={text}Z NOPASSWD: x")), Some(seconds), "{text}");
    }
    assert_eq!(end_of("    (root) NOPASSWD: x"), None);
}
