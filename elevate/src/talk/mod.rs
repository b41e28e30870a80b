//! The conversation: hello, one ask, then whatever the other side wants, until it is done, refused or left.
//!
//! In: a [`Conversation`], an [`Ask`], the terminal, signals. Out: how it ended. Waits in one poll(2) over all of them.
//! Spec: docs/wire.md "A person's conversation", docs/cli.md "Waiting".

mod end;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use elevate_protocol::id::Nonce;
use elevate_protocol::message::parts::Joiner;
use elevate_protocol::message::person::{Ask, Away, Reply, Say};
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::message::{VERSION, Versions};
use elevate_protocol::text::UntrustedText;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock;
use crate::console::Console;
use crate::door::Conversation;
use crate::paint::{Line, Tone};
use crate::render;
use crate::signals::Signals;
use crate::typing::{self, Echo, Typed};

pub use end::{End, Leaving, TalkError, Told, Wait};

/// How long the other side may be silent when it is its turn.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// The same once a host's PAM stack is at work: the agent gives that two minutes.
const PAM_PATIENCE: Duration = Duration::from_secs(130);

/// A question that is not answered yet.
#[derive(Debug)]
enum Question {
    Challenge(Challenged),
    Prompt { text: UntrustedText, echo: Echo },
}

/// A challenge; it may be answered again while tries are left.
#[derive(Debug, Clone)]
struct Challenged {
    id: Nonce,
    prompt: UntrustedText,
}

/// What the waiting brought.
enum Heard {
    Reply(Reply),
    Interrupted,
    TimeOver,
}

/// Who is there to be asked and told.
#[derive(Debug)]
pub struct Talk<'a> {
    conversation: &'a mut Conversation,
    console: &'a mut Console,
    signals: &'a Signals,
    wait: Wait,
    patience: Duration,
    state: Progress,
    parts: Joiner,
}

/// How far it is.
#[derive(Debug)]
struct Progress {
    question: Option<Question>,
    challenged: Option<Challenged>,
    last: Option<Box<ActivationView>>,
    away: Option<Away>,
    silence: Option<(Instant, Duration)>,
    people_until: Option<Instant>,
}

impl<'a> Talk<'a> {
    /// Ready to ask.
    #[must_use]
    pub fn new(
        conversation: &'a mut Conversation,
        console: &'a mut Console,
        signals: &'a Signals,
        wait: Wait,
    ) -> Self {
        let state = Progress {
            question: None,
            challenged: None,
            last: None,
            away: None,
            silence: None,
            people_until: None,
        };
        Self {
            conversation,
            console,
            signals,
            wait,
            patience: ANSWER_PATIENCE,
            state,
            parts: Joiner::default(),
        }
    }

    /// Asks, and stays until it is over.
    ///
    /// # Errors
    /// A [`TalkError`]; what is pending stays pending.
    pub fn ask(mut self, ask: &Ask, told: &mut dyn FnMut(&mut Console, Told<'_>)) -> Result<End, TalkError> {
        self.turn(Some(self.patience));
        let greets = !self.conversation.is_greeted();
        if greets {
            self.conversation.say(&Say::Hello { versions: Versions::OURS })?;
        }
        // Behind it at once: where no version is common, it is not read.
        self.conversation.say(&Say::Ask(ask.clone()))?;
        if greets && let Some(end) = self.greeting()? {
            return Ok(end);
        }
        self.turn(if self.wait == Wait::Follow { None } else { Some(self.patience) });
        loop {
            let heard = match self.answer()? {
                Some(end) => return Ok(end),
                None => self.listen()?,
            };
            match heard {
                Heard::Reply(reply) => {
                    if let Some(end) = self.take(reply, told)? {
                        return Ok(end);
                    }
                }
                Heard::Interrupted => return Ok(self.leave(Leaving::Interrupted)),
                Heard::TimeOver => return Ok(self.leave(Leaving::TimeOver)),
            }
        }
    }

    /// The answer to hello. A result is the end.
    fn greeting(&mut self) -> Result<Option<End>, TalkError> {
        match self.listen()? {
            Heard::Reply(Reply::Hello { version: VERSION }) => {
                self.conversation.greeted();
                Ok(None)
            }
            Heard::Reply(Reply::Hello { version }) => Err(TalkError::Version(version)),
            Heard::Reply(Reply::Refused(refusal)) => Ok(Some(End::Refused(refusal))),
            Heard::Reply(_) => Err(TalkError::Unexpected("before hello")),
            Heard::Interrupted | Heard::TimeOver => Ok(Some(self.leave(Leaving::Interrupted))),
        }
    }

    /// It is the other side's turn, for so long.
    fn turn(&mut self, patience: Option<Duration>) {
        self.state.silence =
            patience.and_then(|patience| Some((clock::instant().checked_add(patience)?, patience)));
    }

    fn leave(&mut self, why: Leaving) -> End {
        // Closing says the same; this only says it sooner.
        drop(self.conversation.say(&Say::Leave));
        End::Left { last: self.state.last.take(), why }
    }

    /// Asks the person what is asked, if anything is. A result ends the conversation.
    fn answer(&mut self) -> Result<Option<End>, TalkError> {
        let (line, echo) = match &self.state.question {
            None => return Ok(None),
            Some(Question::Challenge(asked)) => (question_line(&asked.prompt), Echo::Hidden),
            Some(Question::Prompt { text, echo }) => (question_line(text), *echo),
        };
        if !self.console.manner().asks {
            self.give_up();
            return Err(TalkError::FactorNeeded);
        }
        let disturbance = Some(self.conversation.as_fd());
        match typing::ask(self.console, self.signals, &line, echo, disturbance)? {
            Typed::Line(text) => {
                let (say, patience) = match self.state.question.take() {
                    Some(Question::Challenge(asked)) => {
                        let say = Say::Answer { challenge: asked.id, code: text };
                        self.state.challenged = Some(asked);
                        (say, self.patience)
                    }
                    Some(Question::Prompt { .. }) | None => (Say::Input { text }, PAM_PATIENCE),
                };
                self.conversation.say(&say)?;
                self.turn(Some(patience));
                Ok(None)
            }
            // What the other side says now counts first; the question may be void.
            Typed::Disturbed => Ok(None),
            Typed::Over => {
                self.give_up();
                Err(TalkError::FactorNeeded)
            }
            Typed::Interrupted => {
                self.give_up();
                Ok(Some(End::Left { last: self.state.last.take(), why: Leaving::Interrupted }))
            }
        }
    }

    fn give_up(&mut self) {
        drop(self.conversation.say(&Say::Leave));
    }

    fn take(
        &mut self,
        reply: Reply,
        told: &mut dyn FnMut(&mut Console, Told<'_>),
    ) -> Result<Option<End>, TalkError> {
        match reply {
            Reply::Hello { .. } => return Err(TalkError::Unexpected("a second hello")),
            Reply::Challenge(challenge) => {
                let asked = Challenged { id: challenge.id, prompt: challenge.prompt };
                self.state.question = Some(Question::Challenge(asked));
                self.turn(None);
            }
            Reply::Prompt { text, echo } => {
                let echo = if echo { Echo::Shown } else { Echo::Hidden };
                self.state.question = Some(Question::Prompt { text, echo });
                self.turn(None);
            }
            Reply::Notice { text } => {
                self.console.warn(&Line::plain(&text.escaped()));
                self.turn(Some(PAM_PATIENCE));
            }
            Reply::Verdict { accepted, tries, message } => self.verdict(accepted, tries, message.as_deref()),
            Reply::Seed { uri } => {
                told(self.console, Told::Seed(uri.expose()));
                self.turn(Some(self.patience));
            }
            Reply::Event(event) => told(self.console, Told::Event(&event)),
            Reply::Progress(view) => return Ok(self.progress(view, told)),
            Reply::Part { text, left } => {
                self.turn(Some(self.patience));
                let whole = self.parts.take(&text, left)?;
                return Ok(whole.map(End::Done));
            }
            Reply::Away(away) => self.state.away = Some(away),
            Reply::Done(outcome) => return Ok(Some(End::Done(outcome))),
            Reply::Refused(mut refusal) => {
                if let Some(away) = self.state.away.take() {
                    refusal.message = render::away::sentence(&away, &clock::here());
                }
                return Ok(Some(End::Refused(refusal)));
            }
        }
        Ok(None)
    }

    fn verdict(&mut self, accepted: bool, tries: u8, message: Option<&str>) {
        self.turn(Some(self.patience));
        if accepted {
            return;
        }
        let left = match tries {
            0 => "no try left".to_owned(),
            1 => "1 try left".to_owned(),
            more => format!("{more} tries left"),
        };
        let line = Line::of(Tone::Bad, message.unwrap_or("the code is wrong")).then(&format!(" ({left})"));
        self.console.warn(&line);
        if tries > 0 {
            self.state.question = self.state.challenged.take().map(Question::Challenge);
        }
    }

    /// An activation changed: tell, and see what is waited for next.
    fn progress(
        &mut self,
        view: Box<ActivationView>,
        told: &mut dyn FnMut(&mut Console, Told<'_>),
    ) -> Option<End> {
        told(self.console, Told::Progress(&view, self.state.last.as_deref()));
        let pending = view.state == State::Pending;
        self.state.last = Some(view);
        match (self.wait, pending) {
            (Wait::Follow, _) => self.turn(None),
            // Nobody decides any more; the daemon and the hosts have to answer.
            (Wait::Machines | Wait::People(_), false) => {
                self.state.people_until = None;
                self.turn(Some(self.patience));
            }
            (Wait::Machines, true) => {
                self.give_up();
                return Some(End::Left { last: self.state.last.take(), why: Leaving::TimeOver });
            }
            (Wait::People(limit), true) => {
                self.turn(None);
                if self.state.people_until.is_none() {
                    self.state.people_until = limit.and_then(|limit| clock::instant().checked_add(limit));
                }
            }
        }
        None
    }

    /// Waits for a reply, a signal, or the end of a time.
    fn listen(&mut self) -> Result<Heard, TalkError> {
        loop {
            if let Some(reply) = self.conversation.arrived()? {
                return Ok(Heard::Reply(reply));
            }
            let now = clock::instant();
            if self.state.people_until.is_some_and(|until| now >= until) {
                return Ok(Heard::TimeOver);
            }
            if let Some((until, patience)) = self.state.silence
                && now >= until
            {
                return Err(TalkError::Silent(patience));
            }
            let next =
                self.state.silence.map(|(until, _)| until).into_iter().chain(self.state.people_until).min();
            let pause = next.map_or(PollTimeout::NONE, |until| pause(until.saturating_duration_since(now)));
            let mut watched = [
                PollFd::new(self.conversation.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, pause) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(TalkError::Wait(error)),
            }
            let [said, signal] = watched.map(|fd| fd.any().unwrap_or(false));
            if signal && self.signals.next().map_err(TalkError::Wait)?.is_some() {
                return Ok(Heard::Interrupted);
            }
            if said {
                self.conversation.take_in()?;
            }
        }
    }
}

/// Rounded up, so that the time is over when poll(2) returns; long waits are done in parts.
fn pause(left: Duration) -> PollTimeout {
    let millis = left.as_millis().saturating_add(1).min(3_600_000);
    u32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

fn question_line(text: &UntrustedText) -> Line {
    let shown = text.escaped();
    let shown = shown.trim_end();
    let end = if shown.ends_with([':', '?', '.']) { "" } else { ":" };
    Line::plain(shown).then(end)
}

#[cfg(test)]
#[path = "../talk_tests.rs"]
mod tests;
