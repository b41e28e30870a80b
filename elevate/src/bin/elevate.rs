//! `elevate`: what people type. In: words, the environment, the terminal. Out: an exit code. Runs as: the person.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use elevate_cli::args::{Elevate, Status, Verb, parse, unwind};
use elevate_cli::clock;
use elevate_cli::console::Console;
use elevate_cli::failure::{Failure, tell};
use elevate_cli::paint::Line;
use elevate_cli::people::{self, Environment, Session};
use elevate_cli::prompt;
use elevate_cli::signals::Signals;
use nix::unistd::getuid;

fn main() -> ExitCode {
    let Ok(mut console) = Console::standard() else { return ExitCode::FAILURE };
    let words = match parse(std::env::args_os().skip(1)) {
        Ok(words) => words,
        Err(error) => return ExitCode::from(unwind(&mut console, &error)),
    };
    if let Some(Verb::Status(Status { prompt: true, .. })) = &words.verb {
        // Before the account, the zone and the signals are looked at: each prompt of a shell waits for it.
        if let Some(word) = prompt::word(Path::new(prompt::MINE), getuid().as_raw(), clock::now()) {
            console.data(&Line::plain(&word));
        }
        return ExitCode::SUCCESS;
    }
    match prepare(words, console) {
        Ok((mut session, words)) => {
            let mut exit = people::run(&mut session, words);
            session.close();
            if session.console.trouble().is_some() && exit == 0 {
                exit = 1;
            }
            ExitCode::from(exit)
        }
        Err((mut console, failure)) => ExitCode::from(tell(&mut console, &failure.refusal(), false)),
    }
}

type Prepared = Result<(Session, Elevate), (Console, Failure)>;

fn prepare(words: Elevate, console: Console) -> Prepared {
    let around = match Environment::read(&|name| std::env::var(name).ok()) {
        Ok(around) => around,
        Err(failure) => return Err((console, failure)),
    };
    match Signals::take() {
        Ok(signals) => Ok((Session::new(console, signals, around, words.common.clone()), words)),
        Err(error) => Err((console, Failure::System { what: "take signals", source: error.into() })),
    }
}
