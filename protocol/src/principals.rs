//! What certificates of live grants open one account: what the agent leaves for the program that sshd asks.
//!
//! In: `/run/elevate/principals/<account>`, which is root's and does not outlive a boot. Out: [`Entry`]s, and the line that
//! sshd_config(5) `AuthorizedPrincipalsCommand` wants of one. Spec: docs/grant-format.md "Principals". Threats G01, E10.

use crate::id::ActivationId;
use crate::ssh::{Forward, SshOptions, principal};
use crate::time::Timestamp;

/// Longest such file in bytes.
pub const PRINCIPALS_MAX: u64 = 1024 * 1024;
/// First line of every such file.
const HEAD: &str = "elevate principals 1\n";
/// A place that nobody connects to or listens at: the one that is allowed where there must be none.
const NOWHERE: &str = "255.255.255.255:1";

/// One grant that opens the account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The grant.
    pub grant: ActivationId,
    /// First second that is too late.
    pub not_after: Timestamp,
    /// The end on CLOCK_BOOTTIME, in milliseconds since the machine booted; that of a lease where it is earlier.
    pub ends: u64,
    /// Whether there is a terminal.
    pub pty: bool,
    /// What is forwarded, sorted.
    pub forward: Vec<Forward>,
}

impl Entry {
    /// The entry of a grant with these options.
    #[must_use]
    pub fn new(grant: ActivationId, (not_after, ends): (Timestamp, u64), options: &SshOptions) -> Self {
        let mut forward = options.forward.clone();
        forward.sort();
        Self { grant, not_after, ends, pty: options.pty, forward }
    }

    /// Whether it opens the account at this moment, by both clocks.
    #[must_use]
    pub fn holds(&self, now: Timestamp, boot: u64) -> bool {
        now < self.not_after && boot < self.ends
    }

    /// The line for sshd: options as in authorized_keys(5), everything forbidden that the grant does not name, and the
    /// principal. A certificate says the same; sshd allows what both allow.
    #[must_use]
    pub fn to_sshd(&self) -> String {
        let has = |what| self.forward.contains(&what);
        let mut options = vec!["restrict".to_owned()];
        let mut add = |wanted: bool, option: &str| options.extend(wanted.then(|| option.to_owned()));
        add(self.pty, "pty");
        add(has(Forward::Agent), "agent-forwarding");
        add(has(Forward::X11), "X11-forwarding");
        add(has(Forward::Local) || has(Forward::Remote), "port-forwarding");
        add(has(Forward::Local) && !has(Forward::Remote), &format!("permitlisten=\"{NOWHERE}\""));
        add(has(Forward::Remote) && !has(Forward::Local), &format!("permitopen=\"{NOWHERE}\""));
        format!("{} {}\n", options.join(","), principal(self.grant))
    }

    fn to_line(&self) -> String {
        let forward = self.forward.iter().map(|forward| word(*forward));
        let words: Vec<&str> = self.pty.then_some("pty").into_iter().chain(forward).collect();
        let words = if words.is_empty() { "-".to_owned() } else { words.join(",") };
        format!("{} {} {} {words}\n", self.grant, self.not_after.0, self.ends)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let grant = fields.next()?.parse().ok()?;
        let not_after = Timestamp(fields.next()?.parse().ok()?);
        let ends = fields.next()?.parse().ok()?;
        let words = fields.next()?;
        let mut entry = Self { grant, not_after, ends, pty: false, forward: vec![] };
        for one in words.split(',').filter(|one| *one != "-") {
            match one {
                "pty" => entry.pty = true,
                one => entry.forward.push(ALL.into_iter().find(|forward| word(*forward) == one)?),
            }
        }
        let sorted = entry.forward.iter().zip(entry.forward.iter().skip(1)).all(|(one, next)| one < next);
        sorted.then_some(entry)
    }
}

const ALL: [Forward; 4] = [Forward::Local, Forward::Remote, Forward::Agent, Forward::X11];

fn word(forward: Forward) -> &'static str {
    match forward {
        Forward::Local => "local",
        Forward::Remote => "remote",
        Forward::Agent => "agent",
        Forward::X11 => "x11",
    }
}

/// The file.
#[must_use]
pub fn write(entries: &[Entry]) -> String {
    std::iter::once(HEAD.to_owned()).chain(entries.iter().map(Entry::to_line)).collect()
}

/// Reads a file of exactly that form; none for everything else, a truncated one too.
#[must_use]
pub fn read(text: &str) -> Option<Vec<Entry>> {
    let lines = text.strip_prefix(HEAD)?;
    let entries: Vec<Entry> = lines.lines().map(Entry::from_line).collect::<Option<_>>()?;
    (write(&entries) == text).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u8, pty: bool, forward: &[Forward]) -> Entry {
        let options = SshOptions { forward: forward.to_vec(), pty, ..SshOptions::default() };
        Entry::new(ActivationId::from_random([id; 16]), (Timestamp(1_795_291_200), 84_834_567), &options)
    }

    #[test]
    fn a_file_reads_back_and_nothing_like_it_does() {
        let entries =
            vec![entry(1, true, &[]), entry(2, false, &[]), entry(3, true, &[Forward::X11, Forward::Local])];
        let text = write(&entries);
        assert_eq!(read(&text), Some(entries));
        assert_eq!(read(&write(&[])), Some(vec![]));
        for wrong in [
            String::new(),
            text.trim_end().to_owned(),
            text.replacen("principals 1", "principals 2", 1),
            text.replacen(" pty\n", " pty,pty\n", 1),
            text.replacen(" pty\n", " pty,tun\n", 1),
            text.replacen(" pty\n", " pty more\n", 1),
            text.replacen("local", "remote,local", 1),
            text.replacen(" 1795", " +1795", 1),
            text.replacen(" 848", "  848", 1),
            text.replacen("elevate", "Elevate", 1),
            format!("{text}\n"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn g01_an_entry_holds_until_the_earlier_end_of_both_clocks() {
        let entry = entry(1, true, &[]);
        let (end, boot) = (entry.not_after, entry.ends);
        assert!(entry.holds(Timestamp(end.0 - 1), boot - 1) && entry.holds(Timestamp(0), 0));
        assert!(!entry.holds(end, boot - 1) && !entry.holds(Timestamp(end.0 - 1), boot));
    }

    #[test]
    fn e10_sshd_is_told_to_forbid_what_the_grant_does_not_name() {
        let id = ActivationId::from_random([1; 16]);
        for (pty, forward, options) in [
            (true, &[][..], "restrict,pty"),
            (false, &[], "restrict"),
            (true, &[Forward::Local], "restrict,pty,port-forwarding,permitlisten=\"255.255.255.255:1\""),
            (false, &[Forward::Remote], "restrict,port-forwarding,permitopen=\"255.255.255.255:1\""),
            (true, &[Forward::Remote, Forward::Local], "restrict,pty,port-forwarding"),
            (false, &[Forward::X11, Forward::Agent], "restrict,agent-forwarding,X11-forwarding"),
        ] {
            assert_eq!(entry(1, pty, forward).to_sshd(), format!("{options} elevate:{id}\n"));
        }
    }
}
