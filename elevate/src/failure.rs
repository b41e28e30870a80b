//! What ends a command early: one error for all modules, told as code, sentence and hint.
//!
//! In: the errors of the modules, refusals of the daemon. Out: an exit code and the lines `error:` and `hint:`,
//! or JSON. Spec: docs/cli.md "Exit codes".

use std::error::Error as _;

use elevate_protocol::message::refusal::{Code, Refusal};
use serde_json::json;

use crate::console::Console;
use crate::door::DoorError;
use crate::paint::{Line, Tone};
use crate::settings::SettingsError;
use crate::talk::TalkError;
use crate::typing::TypingError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The way to the daemon.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The conversation.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// client.toml.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The terminal.
    #[error(transparent)]
    Typing(#[from] TypingError),
    /// The daemon or the agent refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The system refused something that always works.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Failure {
    /// What was typed is not right.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(Code::Usage, message).hint(hint))
    }

    /// The same as a refusal: code, the whole chain of causes as one sentence, hint.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (code, hint) = match self {
            Self::Refused(refusal) => return refusal.clone(),
            Self::Door(error) => (error.code(), error.hint()),
            Self::Talk(error) => (error.code(), error.hint()),
            Self::Settings(error) => (error.code(), error.hint()),
            Self::Typing(_) | Self::System { .. } => (Code::Internal, None),
        };
        let mut message = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Refusal { code, message, hint }
    }
}

/// Tells a refusal, as text or as JSON, and gives its exit code.
pub fn tell(console: &mut Console, refusal: &Refusal, as_json: bool) -> u8 {
    let exit = refusal.code.exit();
    if as_json {
        let value = json!({
            "schema": "elevate.refusal/1",
            "code": refusal.code,
            "exit": exit,
            "message": refusal.message,
            "hint": refusal.hint,
        });
        console.json_error(&value.to_string());
        return exit;
    }
    console.warn(&Line::of(Tone::Bad, "error:").then(" ").then(&refusal.message));
    for hint in refusal.hint.iter().flat_map(|hint| hint.lines()) {
        console.warn(&Line::of(Tone::Faint, "hint:").then("  ").then(hint));
    }
    exit
}
