//! `elevatectl`: what administrators type. In: words, the daemon's own socket or one's own key. Out: an exit code.
//! Runs as: root or the daemon's own account on the daemon's machine; a person anywhere.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use elevate_cli::admin;
use elevate_cli::args::admin::Elevatectl;
use elevate_cli::args::unwind;
use elevate_cli::console::Console;
use elevate_cli::failure::{Failure, tell};
use elevate_cli::people::Environment;
use elevate_cli::signals::Signals;

fn main() -> ExitCode {
    let Ok(mut console) = Console::standard() else { return ExitCode::FAILURE };
    let words = match Elevatectl::try_parse() {
        Ok(words) => words,
        Err(error) => return ExitCode::from(unwind(&mut console, &error)),
    };
    let around = match Environment::read(&|name| std::env::var(name).ok()) {
        Ok(around) => around,
        Err(failure) => return ExitCode::from(tell(&mut console, &failure.refusal(), false)),
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => {
            let failure = Failure::System { what: "take signals", source: error.into() };
            return ExitCode::from(tell(&mut console, &failure.refusal(), false));
        }
    };
    console.behave(|manner| {
        manner.quiet = words.quiet;
        if words.no_color || around.no_colour {
            manner.out_colour = false;
            manner.err_colour = false;
        }
    });
    let (console, exit) = admin::run(console, signals, &words, &around);
    let lost = console.trouble().is_some() && exit == 0;
    ExitCode::from(if lost { 1 } else { exit })
}
