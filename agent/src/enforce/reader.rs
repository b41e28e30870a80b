//! Our own strict reader of drop-ins, written apart from the renderer: what it reads must be what was granted.
//!
//! In: sudoers text. Out: [`DropIn`], or a refusal of everything that [`super::render`] never writes.
//! `visudo -c` accepts injections (THREATS X-j), so a file is compared with the grants, not only checked (threat A03).

use std::collections::BTreeSet;

use elevate_protocol::date;
use elevate_protocol::id::ActivationId;
use elevate_protocol::signed::LiveGrant;
use elevate_protocol::sudo::Allowed;
use elevate_protocol::time::Timestamp;

use super::render;
use crate::flavour::Dialect;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    /// Whose.
    pub(crate) uid: u32,
    /// The account that it runs as.
    pub(crate) run_as: String,
    /// The last second, where sudo is told.
    pub(crate) last: Option<Timestamp>,
    /// What.
    pub(crate) what: What,
}

/// What a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Everything.
    Everything,
    /// One exact command: path, then arguments.
    Command(Vec<String>),
    /// One file in sudoedit.
    Edit(String),
}

/// A whole drop-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DropIn {
    /// The grants of its first line.
    pub(crate) ids: BTreeSet<ActivationId>,
    /// Its rules.
    pub(crate) rules: BTreeSet<Rule>,
}

/// Why some text is not a drop-in of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The first line does not name grants.
    #[error("the first line does not name grants")]
    Head,
    /// A line that is no rule in the one form there is.
    #[error("line {line} is not a rule of ours")]
    Line {
        /// From 1.
        line: usize,
    },
    /// No rule, a rule twice, or rules out of their order.
    #[error("the rules are not a sorted list of different ones")]
    Order,
    /// It says something else than the grants.
    #[error("the drop-in does not say what the grants say")]
    Different,
}

/// Reads a drop-in.
///
/// # Errors
/// [`ReadError`] for the first thing that is not exactly in our form.
pub(crate) fn read(text: &str) -> Result<DropIn, ReadError> {
    let body = text.strip_suffix('\n').ok_or(ReadError::Head)?;
    let mut lines = body.split('\n');
    let head =
        lines.next().and_then(|line| line.strip_prefix(render::HEAD)).and_then(|rest| rest.strip_prefix(' '));
    let mut ids = BTreeSet::new();
    for id in head.ok_or(ReadError::Head)?.split(' ') {
        let id: ActivationId = id.parse().map_err(|_| ReadError::Head)?;
        if ids.last().is_some_and(|before| *before >= id) {
            return Err(ReadError::Head);
        }
        ids.insert(id);
    }
    let mut rules = BTreeSet::new();
    let mut before = "";
    for (index, line) in lines.enumerate() {
        if line <= before {
            return Err(ReadError::Order);
        }
        before = line;
        rules.insert(rule(line).ok_or(ReadError::Line { line: index.saturating_add(2) })?);
    }
    if rules.is_empty() { Err(ReadError::Order) } else { Ok(DropIn { ids, rules }) }
}

fn rule(line: &str) -> Option<Rule> {
    let (uid, rest) = line.strip_prefix('#')?.split_once(" ALL=(")?;
    let (run_as, rest) = rest.split_once(')')?;
    let (last, what) = rest.split_once(" NOPASSWD: ")?;
    let last = match last.strip_prefix(" NOTAFTER=") {
        Some(last) => Some(date::read(last)?),
        None => last.is_empty().then_some(None)?,
    };
    let number: u32 = uid.parse().ok()?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    let first = run_as.chars().next()?;
    if number.to_string() != uid
        || !run_as.chars().all(is_name)
        || !(first.is_ascii_lowercase() || first == '_')
    {
        return None;
    }
    Some(Rule { uid: number, run_as: run_as.to_owned(), last, what: what_of(what)? })
}

fn what_of(text: &str) -> Option<What> {
    if text == "ALL" {
        return Some(What::Everything);
    }
    if let Some(path) = text.strip_prefix("sudoedit ") {
        return path_of(path).map(What::Edit);
    }
    let (path, arguments) = text.split_once(' ')?;
    let path = path_of(path)?;
    if arguments == "\"\"" {
        return Some(What::Command(vec![path]));
    }
    let mut argv = vec![path];
    for written in arguments.split(' ') {
        argv.push(argument_of(written)?);
    }
    Some(What::Command(argv))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_@%+./-".contains(&byte)
}

fn path_of(text: &str) -> Option<String> {
    let parts = text.strip_prefix('/')?;
    let fine = parts.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    (fine && text.bytes().all(is_plain)).then(|| text.to_owned())
}

fn argument_of(written: &str) -> Option<String> {
    let mut argument = String::new();
    let mut letters = written.bytes();
    while let Some(byte) = letters.next() {
        let meant = match byte {
            b'\\' => letters.next().filter(|escaped| b"=:,".contains(escaped))?,
            plain if is_plain(plain) => plain,
            _ => return None,
        };
        argument.push(char::from(meant));
    }
    (!argument.is_empty()).then_some(argument)
}

/// What a drop-in for `uid` has to say, straight from the grants.
#[must_use]
pub(crate) fn intended(dialect: Dialect, uid: u32, grants: &[LiveGrant<'_>]) -> DropIn {
    let (mut ids, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for live in grants {
        let Some(sudo) = &live.grant().sudo else { continue };
        ids.insert(live.grant().id);
        let mut add = |what| {
            rules.insert(Rule {
                uid,
                run_as: sudo.run_as().as_str().to_owned(),
                last: match dialect {
                    Dialect::Classic => Some(Timestamp(live.not_after().0.saturating_sub(1))),
                    Dialect::Rs => None,
                },
                what,
            })
        };
        match sudo.allowed() {
            Allowed::Everything => {
                add(What::Everything);
            }
            Allowed::Only { run, edit } => {
                for command in run {
                    add(What::Command(command.clone().into()));
                }
                for path in edit {
                    add(What::Edit(path.as_str().to_owned()));
                }
            }
        }
    }
    DropIn { ids, rules }
}

/// Reads `text` back and compares it with the grants that it was rendered from.
///
/// # Errors
/// [`ReadError`]; the text must then not be installed.
pub(crate) fn prove(
    dialect: Dialect,
    text: &str,
    uid: u32,
    grants: &[LiveGrant<'_>],
) -> Result<(), ReadError> {
    if read(text)? == intended(dialect, uid, grants) { Ok(()) } else { Err(ReadError::Different) }
}
