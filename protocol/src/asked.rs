//! What the program that sshd asks leaves in the system's log: which connection asked for what, and what it was told.
//!
//! In and out: one line of the log, by which the agent knows whose certificate sshd refuses after it. Spec: docs/wire.md "A login".

use std::fmt;
use std::str::FromStr;

use crate::id::ActivationId;
use crate::name::Name;

/// As what the program writes to the log.
pub const IDENTIFIER: &str = "elevate-principals";

/// One question of sshd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The process of sshd that serves the connection.
    pub sshd: u32,
    /// The account.
    pub login: Name,
    /// The grant that the certificate's key id names.
    pub grant: ActivationId,
    /// The answer.
    pub said: Said,
}

/// What sshd was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The grant opens the account.
    Yes,
    /// It does not, and the agent could not be told.
    No,
    /// It does not, and the agent was told.
    Told,
}

const WORDS: [(Said, &str); 3] =
    [(Said::Yes, "yes"), (Said::No, "no"), (Said::Told, "no, and the agent was told")];

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sshd, login, grant, said } = self;
        let word = WORDS.iter().find(|(one, _)| one == said).map_or("no", |(_, word)| word);
        write!(f, "sshd[{sshd}]: may a certificate of G-{grant} open {login}? {word}")
    }
}

/// Not such a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not what the program says that sshd asks")]
pub struct NotAsked;

impl FromStr for Asked {
    type Err = NotAsked;

    fn from_str(text: &str) -> Result<Self, NotAsked> {
        read(text).ok_or(NotAsked)
    }
}

fn read(text: &str) -> Option<Asked> {
    let (sshd, rest) = text.strip_prefix("sshd[")?.split_once("]: may a certificate of G-")?;
    let (grant, rest) = rest.split_once(" open ")?;
    let (login, word) = rest.split_once("? ")?;
    let said = WORDS.iter().find(|(_, one)| *one == word).map(|(said, _)| *said)?;
    let asked =
        Asked { sshd: sshd.parse().ok()?, login: login.parse().ok()?, grant: grant.parse().ok()?, said };
    // One way to write it.
    (asked.to_string() == text).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        for (said, _) in WORDS {
            let asked = Asked {
                sshd: 812,
                login: "deploy".parse().unwrap(),
                grant: ActivationId::from_random([1; 16]),
                said,
            };
            let text = asked.to_string();
            assert_eq!(text.parse(), Ok(asked));
            for wrong in [
                text.replace("812", "0812"),
                text.replace("deploy", "a b"),
                format!("{text} "),
                format!(" {text}"),
            ] {
                assert_eq!(wrong.parse::<Asked>(), Err(NotAsked), "{wrong}");
            }
        }
        assert_eq!("".parse::<Asked>(), Err(NotAsked));
    }
}
