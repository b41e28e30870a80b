//! What a person gives to `enroll`: the paste string, and the word that there is a way in without Elevate.
//!
//! In: a file, standard input, the terminal. Out: a [`Paste`] for a host. Never the command line: every account of the host can read
//! it in /proc (threat H02).

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use elevate_protocol::paste::{Paste, PasteError, PasteKind};
use elevate_protocol::secret::Secret;

/// Longest input read, in bytes.
const INPUT_MAX: u64 = 4096;

/// Why there is nothing to enrol with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The string was on the command line.
    #[error(
        "the paste string does not belong on the command line: every account of this host can read it there, so it counts as seen"
    )]
    CommandLine,
    /// The file or standard input.
    #[error("cannot read the paste string from {}", from.display())]
    Read {
        /// From where.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a paste string.
    #[error("no usable paste string")]
    Paste {
        /// Why.
        source: PasteError,
    },
    /// A paste string of another kind.
    #[error("this paste string is for a {kind}, not for a host")]
    Kind {
        /// Its kind.
        kind: PasteKind,
    },
    /// Nobody said that there is a way in without Elevate.
    #[error(
        "nothing was changed: enrolling needs a way for root to log in that does not pass through sudo, a console or root's own key"
    )]
    NotConfirmed,
}

/// Reads the paste string.
///
/// # Errors
/// An [`InputError`].
pub(crate) fn paste(file: Option<&Path>, words: &[String]) -> Result<Paste, InputError> {
    if !words.is_empty() {
        return Err(InputError::CommandLine);
    }
    let from = file.unwrap_or(Path::new("standard input"));
    let unreadable = |source| InputError::Read { from: from.to_owned(), source };
    let text = match file {
        Some(path) => read(File::open(path).map_err(unreadable)?),
        None if io::stdin().is_terminal() => {
            eprint!("Paste string of `elevatectl host invite`: ");
            line(BufReader::new(io::stdin().lock()))
        }
        None => read(io::stdin().lock()),
    };
    parse(&text.map_err(unreadable)?)
}

/// Reads a paste string where one is given: nobody is asked for one, and nothing on standard input is none.
///
/// # Errors
/// An [`InputError`].
pub(crate) fn paste_where_given(file: Option<&Path>) -> Result<Option<Paste>, InputError> {
    if file.is_some() {
        return paste(file, &[]).map(Some);
    }
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let unreadable = |source| InputError::Read { from: "standard input".into(), source };
    let text = read(io::stdin().lock()).map_err(unreadable)?;
    if text.expose().trim().is_empty() { Ok(None) } else { parse(&text).map(Some) }
}

fn parse(text: &Secret) -> Result<Paste, InputError> {
    let paste: Paste = text.expose().parse().map_err(|source| InputError::Paste { source })?;
    match paste.kind {
        PasteKind::Host => Ok(paste),
        kind @ (PasteKind::Person | PasteKind::Daemon) => Err(InputError::Kind { kind }),
    }
}

fn read(stream: impl Read) -> io::Result<Secret> {
    let mut text = String::new();
    stream.take(INPUT_MAX).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}

fn line(stream: impl BufRead) -> io::Result<Secret> {
    let mut text = String::new();
    stream.take(INPUT_MAX).read_line(&mut text)?;
    Ok(Secret::new(text))
}

/// Asks on the terminal whether root can get in without Elevate; standard input may be the paste string's.
///
/// # Errors
/// [`InputError::NotConfirmed`] unless somebody types `yes`.
pub(crate) fn confirm() -> Result<(), InputError> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Ok(mut terminal) = terminal else { return Err(InputError::NotConfirmed) };
    let asked = write!(
        terminal,
        "Have you tried that root can log in without sudo (console, or root's own SSH key)? Type yes to go on: "
    );
    let answer = asked.and_then(|()| line(BufReader::new(terminal)));
    if answer.is_ok_and(|answer| answer.expose().trim() == "yes") {
        Ok(())
    } else {
        Err(InputError::NotConfirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: PasteKind) -> Secret {
        let token = (kind != PasteKind::Daemon).then(|| Secret::new("01AB0000000000000000000000".into()));
        Paste {
            kind,
            address: "daemon.example:7022".into(),
            fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
            token,
        }
        .to_line()
    }

    #[test]
    fn h02_a_paste_string_on_the_command_line_is_refused_and_called_seen() {
        let words = vec![text(PasteKind::Host).expose().to_owned()];
        let error = paste(None, &words).unwrap_err();
        assert!(matches!(error, InputError::CommandLine) && error.to_string().contains("counts as seen"));
    }

    #[test]
    fn only_a_paste_string_for_a_host_is_taken() {
        assert_eq!(parse(&text(PasteKind::Host)).unwrap().address, "daemon.example:7022");
        assert!(matches!(parse(&text(PasteKind::Person)), Err(InputError::Kind { kind: PasteKind::Person })));
        assert!(matches!(parse(&text(PasteKind::Daemon)), Err(InputError::Kind { kind: PasteKind::Daemon })));
        assert!(matches!(
            parse(&Secret::new("x".into())),
            Err(InputError::Paste { source: PasteError::Form })
        ));
    }

    #[test]
    fn a_file_is_read_to_a_bound() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("paste");
        std::fs::write(&file, format!("{}\n", text(PasteKind::Host).expose())).unwrap();
        assert!(paste(Some(&file), &[]).is_ok());
        std::fs::write(&file, "x".repeat(1_000_000)).unwrap();
        assert!(matches!(paste(Some(&file), &[]), Err(InputError::Paste { .. })));
        assert!(matches!(paste(Some(&place.path().join("none")), &[]), Err(InputError::Read { .. })));
    }
}
