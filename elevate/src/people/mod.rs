//! The commands of `elevate`.
//!
//! In: parsed words, the environment that was read at the start. Out: an exit code. One module per kind of command.

mod act;
mod cert;
mod environment;
mod factor;
mod known_hosts;
mod look;
mod place;
mod request;
mod run;
mod session;
mod ssh;
mod ssh_config;
mod status;
mod sudo;

pub use environment::Environment;
pub use session::Session;

use crate::args::{Elevate, Mfa, Verb};
use crate::failure::{Failure, tell};
use crate::pages::{Program, completion};

/// Does what was typed and gives the exit code.
pub fn run(session: &mut Session, words: Elevate) -> u8 {
    let own_exit = match &words.verb {
        Some(Verb::Run(_) | Verb::Shell(_) | Verb::Ssh(_)) => true,
        // `elevate web-ops -- CMD` is `elevate run web-ops -- CMD`.
        Some(Verb::Request(request)) => !request.command.is_empty(),
        _ => false,
    };
    match dispatch(session, words.verb) {
        Ok(exit) => exit,
        Err(failure) => {
            let json = session.json();
            let exit = tell(&mut session.console, &failure.refusal(), json);
            // The `env` and `timeout` habit: 125 is this program's own failure, others are the command's.
            if own_exit { 125 } else { exit }
        }
    }
}

fn dispatch(session: &mut Session, verb: Option<Verb>) -> Result<u8, Failure> {
    match verb {
        None => look::overview(session),
        Some(Verb::Request(words)) => request::request(session, &words),
        Some(Verb::TakeUp(words)) => request::take_up(session, words.id),
        Some(Verb::Run(words)) => run::run(session, &words.role, &words.wanted, &words.command),
        Some(Verb::Shell(words)) => run::shell(session, &words),
        Some(Verb::Ssh(words)) => ssh::ssh(session, &words),
        Some(Verb::List(words)) => look::list(session, &words),
        Some(Verb::Status(words)) => status::status(session, words),
        Some(Verb::History(words)) => look::history(session, words),
        Some(Verb::Show(words)) => look::show(session, words.id, words.documents),
        Some(Verb::Requests(words)) => look::requests(session, &words),
        Some(Verb::Approve(words)) => act::approve(session, words),
        Some(Verb::Deny(words)) => act::deny(session, words),
        Some(Verb::Cancel(words)) => act::cancel(session, words.id),
        Some(Verb::Amend(words)) => request::amend(session, words),
        Some(Verb::Drop(words)) => act::give_back(session, words),
        Some(Verb::Extend(words)) => act::extend(session, words),
        Some(Verb::Cert(words)) => cert::cert(session, &words),
        Some(Verb::SshConfig(words)) => ssh_config::ssh_config(session, &words),
        Some(Verb::Why(words)) => look::why(session, words.host, words.command),
        Some(Verb::CanI(words)) => look::can_i(session, words),
        Some(Verb::Lock(words)) => act::lock_me(session, words),
        Some(Verb::Mfa(Mfa::Recovery)) => factor::recovery(session),
        Some(Verb::Mfa(Mfa::Add { recovery })) => factor::add(session, recovery),
        Some(Verb::Mfa(Mfa::List)) => factor::list(session),
        Some(Verb::Mfa(Mfa::Test)) => factor::test(session),
        Some(Verb::Login(words)) => factor::login(session, words),
        Some(Verb::Whoami) => look::whoami(session),
        Some(Verb::Completion { shell }) => {
            session.console.script(&completion(Program::Elevate, shell));
            Ok(0)
        }
    }
}
