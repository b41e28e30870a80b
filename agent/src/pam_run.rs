//! `elevate-agent pam-run`: the agent's child that runs the PAM service of an activation.
//!
//! In: [`ToChild`] on standard input, which is a socketpair. Out: [`FromChild`] on the same. Runs as: root, own session.
//! libpam and every module of the site run here and nowhere else in the agent. Spec: docs/wire.md "PAM child".

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;

use elevate_protocol::frame;
use elevate_protocol::message::pam::{FromChild, PAM_SERVICE, ToChild};
use elevate_protocol::text::UntrustedText;
use nix::sys::signal::Signal;
use pam_client::{Context, ConversationHandler, ErrorCode, Flag};

use crate::journal::{self, Level};

/// Runs the stack and says how it went.
pub(crate) fn run() -> ExitCode {
    // No terminal to open behind the person's back, and a group of its own that the agent can kill whole.
    nix::unistd::setsid().ok();
    // An agent that is killed takes this process along: nobody else would end a module of the site that hangs.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            journal::log(Level::Warning, &format!("pam-run: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let mut stream = stream.map_err(|error| error.to_string())?;
    let begin = frame::read::<ToChild>(&mut stream).map_err(|error| journal::chain(&error))?;
    let Some(ToChild::Begin { login }) = begin else { return Err("it did not begin with an account".into()) };
    let conversation = Conversation { stream: Rc::new(RefCell::new(stream)) };
    let shared = Rc::clone(&conversation.stream);
    let outcome = stack(login.as_str(), conversation);
    let (passed, result) = match outcome {
        Ok(()) => (true, "success".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    let finished = FromChild::Finished { passed, result: UntrustedText::lossy(&result) };
    let mut stream = shared.try_borrow_mut().map_err(|error| error.to_string())?;
    frame::write(&mut *stream, &finished).map_err(|error| journal::chain(&error))
}

fn stack(login: &str, conversation: Conversation) -> Result<(), pam_client::Error> {
    let mut context = Context::new(PAM_SERVICE, Some(login), conversation)?;
    context.authenticate(Flag::NONE)?;
    context.acct_mgmt(Flag::NONE)
}

/// Passes prompts to the agent, which passes them to the person.
struct Conversation {
    stream: Rc<RefCell<UnixStream>>,
}

impl Conversation {
    fn say(&self, message: &FromChild) -> Result<(), ErrorCode> {
        let mut stream = self.stream.try_borrow_mut().map_err(|_| ErrorCode::CONV_ERR)?;
        frame::write(&mut *stream, message).map_err(|_| ErrorCode::CONV_ERR)
    }

    fn prompt(&mut self, prompt: &CStr, echo: bool) -> Result<CString, ErrorCode> {
        let text = UntrustedText::lossy(&prompt.to_string_lossy());
        self.say(&FromChild::Prompt { text, echo })?;
        let mut stream = self.stream.try_borrow_mut().map_err(|_| ErrorCode::CONV_ERR)?;
        match frame::read::<ToChild>(&mut *stream) {
            Ok(Some(ToChild::Input { text })) => CString::new(text.expose()).map_err(|_| ErrorCode::CONV_ERR),
            Ok(Some(ToChild::Begin { .. } | ToChild::Task { .. } | ToChild::Verdict { .. }) | None)
            | Err(_) => Err(ErrorCode::CONV_ERR),
        }
    }

    fn notice(&mut self, text: &CStr) {
        let text = UntrustedText::lossy(&text.to_string_lossy());
        // A notice that nobody hears does not decide anything.
        self.say(&FromChild::Notice { text }).ok();
    }
}

impl ConversationHandler for Conversation {
    fn prompt_echo_on(&mut self, prompt: &CStr) -> Result<CString, ErrorCode> {
        self.prompt(prompt, true)
    }

    fn prompt_echo_off(&mut self, prompt: &CStr) -> Result<CString, ErrorCode> {
        self.prompt(prompt, false)
    }

    fn text_info(&mut self, text: &CStr) {
        self.notice(text);
    }

    fn error_msg(&mut self, text: &CStr) {
        self.notice(text);
    }
}
