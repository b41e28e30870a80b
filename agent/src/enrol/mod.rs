//! Enrolment of this host, its undoing, and what is wrong with it.
//!
//! In: the paste string of `elevatectl host invite`. Out: keys, trust, PAM lines, one line for sudo; or everything as before.
//! Runs as: root, by hand. Spec: docs/architecture.md "On the host", docs/wire.md "Enrolment".

mod again;
mod canary;
mod changes;
mod checks;
mod doctor;
mod flow;
mod input;
mod leftovers;
mod link;
mod listener;
mod login;
mod pam_lines;
mod program;
mod rs_lines;
mod services;
pub(crate) mod ssh;
mod sudoers;
mod unenrol;

use std::io::{self, Write as _};
use std::process::ExitCode;

use elevate_protocol::text::escape;

use crate::args::{DoctorArguments, EnrollArguments, UnenrollArguments};
use crate::journal;
use crate::paths::Paths;

/// Enrols this host.
pub(crate) fn enroll(paths: &Paths, arguments: EnrollArguments) -> ExitCode {
    match flow::enroll(paths, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = journal::fatal(&error);
            tell_hint(error.hint());
            code
        }
    }
}

/// Takes the enrolment back.
pub(crate) fn unenroll(paths: &Paths, UnenrollArguments { no_services }: UnenrollArguments) -> ExitCode {
    match unenrol::run(paths, no_services) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => journal::fatal(&error),
    }
}

/// Says what is wrong.
pub(crate) fn doctor(paths: &Paths, DoctorArguments {}: DoctorArguments) -> ExitCode {
    doctor::run(paths)
}

/// A line for the person at the terminal. Where nobody listens any more, the work goes on all the same.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "{}", escape(text)));
}

fn tell_hint(hint: Option<&str>) {
    if let Some(hint) = hint {
        eprintln!("hint: {}", escape(hint));
    }
}
