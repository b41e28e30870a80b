//! The three standard streams: what may be asked, how wide and coloured things are shown, and that a reader who went
//! away is no failure.
//!
//! In: [`Line`]s and JSON. Out: bytes on stdout (data) and stderr (messages). Spec: docs/cli.md "Output".

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use crate::paint::{Line, Tone, json_on_terminal};

/// The streams of one program, or of one test.
#[derive(Debug)]
pub struct Console {
    input: File,
    out: File,
    err: File,
    manner: Manner,
    broken: Option<io::Error>,
}

/// How to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Somebody is there who can be asked.
    pub asks: bool,
    /// Tables with heads and blanks on stdout; otherwise one line per entry with tabs.
    pub tables: bool,
    /// Colours on stdout.
    pub out_colour: bool,
    /// Colours on stderr.
    pub err_colour: bool,
    /// Nothing on stderr but errors, warnings and questions.
    pub quiet: bool,
}

impl Console {
    /// The program's own streams, as they are found: nothing is asked unless stdin and stderr are a terminal.
    ///
    /// # Errors
    /// When a stream cannot be duplicated.
    pub fn standard() -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let err = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Self::on(input, out, err))
    }

    /// Streams given by the caller.
    #[must_use]
    pub fn on(input: File, out: File, err: File) -> Self {
        let manner = Manner {
            asks: input.is_terminal() && err.is_terminal(),
            tables: out.is_terminal(),
            out_colour: out.is_terminal(),
            err_colour: err.is_terminal(),
            quiet: false,
        };
        Self { input, out, err, manner, broken: None }
    }

    /// How it speaks.
    #[must_use]
    pub fn manner(&self) -> Manner {
        self.manner
    }

    /// Changes how it speaks.
    pub fn behave(&mut self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner);
    }

    /// Where people type.
    #[must_use]
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// A line of data.
    pub fn data(&mut self, line: &Line) {
        let text = line.render(self.manner.out_colour);
        self.write_out(&text);
    }

    /// A row of escaped cells with tabs between them, for a pipe: the only control characters in data.
    pub fn row(&mut self, cells: &[String]) {
        let cells: Vec<String> = cells.iter().map(|cell| Line::plain(cell).render(false)).collect();
        self.write_out(&cells.join("\t"));
    }

    /// JSON as data; safe on a terminal.
    pub fn json(&mut self, json: &str) {
        self.write_out(&json_on_terminal(json));
    }

    /// A script of ours as data, byte for byte.
    pub fn script(&mut self, text: &[u8]) {
        let done = self.out.write_all(text);
        self.remember(done);
    }

    fn write_out(&mut self, text: &str) {
        let done = self.out.write_all(format!("{text}\n").as_bytes());
        self.remember(done);
    }

    /// A message that may be left out.
    pub fn say(&mut self, line: &Line) {
        if !self.manner.quiet {
            self.warn(line);
        }
    }

    /// A message that is never left out.
    pub fn warn(&mut self, line: &Line) {
        let text = format!("{}\n", line.render(self.manner.err_colour));
        let done = self.err.write_all(text.as_bytes());
        self.remember(done);
    }

    /// JSON on stderr: what went wrong, for scripts.
    pub fn json_error(&mut self, json: &str) {
        let text = format!("{}\n", json_on_terminal(json));
        let done = self.err.write_all(text.as_bytes());
        self.remember(done);
    }

    /// A question, without a line end.
    pub fn question(&mut self, line: &Line) {
        let text = line.clone().and(Tone::Plain, " ").render(self.manner.err_colour);
        let done = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
        self.remember(done);
    }

    /// Ends the line of a question whose answer was not shown.
    pub fn end_question(&mut self) {
        let done = self.err.write_all(b"\n");
        self.remember(done);
    }

    fn remember(&mut self, done: io::Result<()>) {
        if let Err(error) = done
            && self.broken.is_none()
        {
            self.broken = Some(error);
        }
    }

    /// What kept output from being written, if anything did. A reader who went away (`| head`) is nothing.
    #[must_use]
    pub fn trouble(&self) -> Option<&io::Error> {
        self.broken.as_ref().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn console(out: File) -> Console {
        let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
        Console::on(null(), out, null())
    }

    #[test]
    fn a_reader_who_went_away_is_no_failure() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut console = console(File::from(OwnedFd::from(writer)));
        (0..100).for_each(|_| console.data(&Line::plain("x")));
        assert!(console.trouble().is_none());
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let mut console = console(File::options().write(true).open("/dev/full").unwrap());
        console.data(&Line::plain("x"));
        assert_eq!(console.trouble().and_then(io::Error::raw_os_error), Some(28));
    }

    #[test]
    fn what_is_no_terminal_has_no_colours_tables_or_questions() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut console = console(File::from(OwnedFd::from(writer)));
        let plain = Manner { asks: false, tables: false, out_colour: false, err_colour: false, quiet: false };
        assert_eq!(console.manner(), plain);
        console.data(&Line::of(Tone::Bad, "no"));
        drop(console);
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "no\n");
    }
}
