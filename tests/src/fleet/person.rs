//! A person: a key on the laptop, and an authenticator app.
//!
//! In: a fleet. Out: codes, each of a step of its own, and commands as that person.
//! Runs as: root, for the person. Spec: RFC 6238.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use totp_rs::Totp;

use super::Fleet;
use crate::{Clock, Host, PATIENCE, Ran, Tty, obtain};

/// Seconds of a TOTP step.
const STEP: u64 = 30;
/// Seconds until a code that is typed has been looked at, on a slow machine.
const ON_ITS_WAY: u64 = 5;

/// Somebody who can activate and approve.
#[derive(Debug)]
pub struct Person {
    /// Login and id.
    pub login: String,
    laptop: Host,
    app: Totp,
    used: u64,
    clock: Option<Clock>,
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Person {
    pub(super) fn invite(fleet: &Fleet, login: &str) -> Result<Self> {
        let paste = fleet.ctl(&["person", "invite", login, "-q"])?;
        let laptop = fleet.laptop.clone();
        laptop.cmd(login, ["elevate", "login"]).input(paste).run()?.success()?;
        let mut screen = laptop.tty(login, ["elevate", "mfa", "add"])?;
        screen.expect("otpauth://")?;
        let rest = screen.expect("\n")?;
        let uri = format!("otpauth://{}", rest.trim());
        let app = Totp::from_url(&uri).map_err(|error| anyhow::anyhow!("{uri:?}: {error}"))?;
        let mut person = Self { login: login.to_owned(), laptop, app, used: 0, clock: None };
        screen.expect("ode")?; // "Code" or "code", whatever the prompt says
        let code = person.code()?;
        screen.line(&code)?;
        let status = screen.wait()?;
        anyhow::ensure!(status.success(), "mfa add: {status}\n{}", screen.screen());
        Ok(person)
    }

    /// From here on the app shows the codes of this clock's time: the daemon's, where it was moved.
    pub fn keeps_time_with(&mut self, clock: &Clock) {
        self.clock = Some(clock.clone());
    }

    /// Seconds since 1970, as the app sees it.
    fn now(&self) -> Result<u64> {
        let ahead = self.clock.as_ref().map_or(Ok(0), Clock::offset)?;
        let ahead = ahead.checked_div(1_000_000_000).unwrap_or(0);
        unix_time().checked_add_signed(ahead).context("a time before 1970")
    }

    /// A code that is right at no time near this one.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn wrong_code(&self) -> Result<String> {
        let step = self.now()?.checked_div(STEP).unwrap_or(0);
        let near = (step.saturating_sub(3)..=step.saturating_add(3))
            .map(|step| self.app.generate(step.saturating_mul(STEP)).to_string())
            .collect::<Vec<_>>();
        (0..10).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).context("every code is right")
    }

    /// A code that this person has not used: of the earliest step that the daemon takes and goes on to take. Waits for the app to show
    /// a new one when those at hand are used up.
    ///
    /// # Errors
    /// Time does not go on.
    pub fn code(&mut self) -> Result<String> {
        let limit = Duration::from_secs(STEP).saturating_add(PATIENCE);
        let step = obtain(limit, "a code that was not used", || {
            let now = self.now().ok()?;
            let at = |seconds: u64| seconds.checked_div(STEP).unwrap_or(0);
            // Not one that is too old by the time it is typed.
            let earliest = at(now.saturating_add(ON_ITS_WAY)).saturating_sub(1);
            let step = self.used.saturating_add(1).max(earliest);
            (step <= at(now).saturating_add(1)).then_some(step)
        })?;
        self.used = step;
        Ok(self.app.generate(step.saturating_mul(STEP)).to_string())
    }

    /// Whether [`Person::code`] would not have to wait.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn has_code(&self) -> Result<bool> {
        let now = self.now()?.checked_div(STEP).unwrap_or(0);
        Ok(self.used <= now)
    }

    /// The code of the step used last, again.
    #[must_use]
    pub fn last_code(&self) -> String {
        self.app.generate(self.used.saturating_mul(STEP)).to_string()
    }

    /// The seed in base32, as the app has it.
    #[must_use]
    pub fn seed(&self) -> String {
        self.app.secret().to_base32()
    }

    /// `elevate` as this person on the laptop, without a terminal.
    ///
    /// # Errors
    /// It could not be started.
    pub fn elevate(&self, args: &[&str]) -> Result<Ran> {
        self.laptop.run(&self.login, std::iter::once("elevate").chain(args.iter().copied()))
    }

    /// `elevate` as this person at a terminal of the laptop.
    ///
    /// # Errors
    /// It could not be started.
    pub fn terminal(&self, args: &[&str]) -> Result<Tty> {
        self.laptop.tty(&self.login, std::iter::once("elevate").chain(args.iter().copied()))
    }

    /// `elevate` at a terminal of the laptop, with this person's code at the prompt; what the screen said.
    ///
    /// # Errors
    /// It did not exit 0.
    pub fn elevate_with_code(&mut self, args: &[&str]) -> Result<String> {
        let mut screen = self.terminal(args)?;
        screen.expect("Code for")?;
        let code = self.code()?;
        screen.line(&code)?;
        let status = screen.wait()?;
        anyhow::ensure!(status.success(), "elevate {args:?}: {status}\n{}", screen.screen());
        Ok(screen.screen())
    }

    /// Approves the request of `requester` that waits.
    ///
    /// # Errors
    /// There is none, or the approval failed.
    pub fn approve_from(&mut self, requester: &str) -> Result<String> {
        let id = self.to_review(requester)?;
        self.elevate_with_code(&["approve", &id, "-m", "ok"])
    }

    /// The id of the one request of `requester` that waits for this person.
    ///
    /// # Errors
    /// There is none within the usual patience.
    pub fn to_review(&self, requester: &str) -> Result<String> {
        obtain(PATIENCE, "a request to review", || {
            let listed =
                self.elevate(&["requests", "--to-review", "--format", "json"]).ok()?.success().ok()?;
            let listed: serde_json::Value = serde_json::from_str(&listed).ok()?;
            let all = listed.get("activations")?.as_array()?.clone();
            let found = all.iter().find(|view| view.get("person").is_some_and(|who| who == requester))?;
            Some(found.get("id")?.as_str()?.to_owned())
        })
        .context("nothing to review")
    }
}
