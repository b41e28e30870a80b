//! Asks a person for one line on the terminal, hidden or not, and always restores the terminal.
//!
//! In: a question, what is typed, signals, and a descriptor that may interrupt. Out: [`Typed`].
//! Ctrl-C arrives through [`Signals`], not as death, so that the echo comes back.

use std::os::fd::{AsFd, BorrowedFd};

use elevate_protocol::secret::Secret;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;
use zeroize::Zeroizing;

use crate::console::Console;
use crate::paint::Line;
use crate::signals::Signals;

/// Longest line taken, in bytes; a terminal in its usual mode gives at most 4096.
const TYPED_MAX: usize = 4096;

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its end.
    Line(Secret),
    /// Ctrl-C, or the program was told to end.
    Interrupted,
    /// Ctrl-D: the input is over.
    Over,
    /// The other descriptor has something to say first.
    Disturbed,
}

/// Why a question could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask on this terminal")]
pub struct TypingError {
    #[from]
    source: Errno,
}

/// Whether what is typed may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It may.
    Shown,
    /// It may not: codes.
    Hidden,
}

/// The terminal without echo; put back when this goes.
struct Quiet<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Quiet<'a> {
    /// Also throws away what was typed before the question: nothing typed blindly becomes a code.
    fn on(terminal: BorrowedFd<'a>) -> Result<Self, Errno> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing can be done when the terminal is gone, and nothing is left to restore then.
        let _restored: Result<(), Errno> = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// Asks one question.
///
/// # Errors
/// [`TypingError`] when the terminal cannot be read or its echo not be turned off; nothing was typed then.
pub fn ask(
    console: &mut Console,
    signals: &Signals,
    question: &Line,
    echo: Echo,
    disturbance: Option<BorrowedFd<'_>>,
) -> Result<Typed, TypingError> {
    let terminal = console.input().try_clone_to_owned().map_err(|_| Errno::EBADF)?;
    let quiet = match echo {
        Echo::Shown => None,
        Echo::Hidden => Some(Quiet::on(terminal.as_fd())?),
    };
    console.question(question);
    let typed = line(terminal.as_fd(), signals, disturbance);
    let shown_end = echo == Echo::Shown && matches!(typed, Ok(Typed::Line(_)));
    drop(quiet);
    if !shown_end {
        console.end_question();
    }
    Ok(typed?)
}

/// One line of standard input, whatever that is.
///
/// # Errors
/// [`TypingError`] when it cannot be read.
pub fn input(console: &Console, signals: &Signals) -> Result<Typed, TypingError> {
    Ok(line(console.input(), signals, None)?)
}

fn line(
    terminal: BorrowedFd<'_>,
    signals: &Signals,
    disturbance: Option<BorrowedFd<'_>>,
) -> Result<Typed, Errno> {
    let mut typed = Zeroizing::new(Vec::with_capacity(TYPED_MAX));
    loop {
        let mut watched =
            vec![PollFd::new(terminal, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        watched.extend(disturbance.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        }
        let mut ready = watched.iter().map(|fd| fd.any().unwrap_or(false));
        let (keys, signal, other) = (ready.next(), ready.next(), ready.next());
        if signal == Some(true) && signals.next()?.is_some() {
            return Ok(Typed::Interrupted);
        }
        if other == Some(true) {
            return Ok(Typed::Disturbed);
        }
        if keys == Some(true)
            && let Some(done) = take(terminal, &mut typed)?
        {
            return Ok(done);
        }
    }
}

/// Reads what is there; a result once the line or the input is over.
fn take(terminal: BorrowedFd<'_>, typed: &mut Zeroizing<Vec<u8>>) -> Result<Option<Typed>, Errno> {
    let mut bytes = Zeroizing::new([0u8; 512]);
    let count = match read(terminal, bytes.as_mut_slice()) {
        Ok(count) => count,
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(None),
        // The terminal was hung up.
        Err(Errno::EIO) => 0,
        Err(error) => return Err(error),
    };
    if count == 0 {
        // A file may end without a line end; a terminal's Ctrl-D after some letters does not come here.
        return if typed.is_empty() { Ok(Some(Typed::Over)) } else { whole(typed).map(Some) };
    }
    let fresh = bytes.get(..count).unwrap_or_default();
    let part = fresh.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if typed.len().saturating_add(part.len()) > TYPED_MAX {
        return Err(Errno::E2BIG);
    }
    typed.extend_from_slice(part);
    if part.len() == fresh.len() {
        return Ok(None);
    }
    whole(typed).map(Some)
}

fn whole(typed: &[u8]) -> Result<Typed, Errno> {
    let text = std::str::from_utf8(typed).map_err(|_| Errno::EILSEQ)?;
    Ok(Typed::Line(Secret::new(text.trim().to_owned())))
}
