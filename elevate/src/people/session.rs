//! One run of `elevate`: the terminal, the signals, the ways to the daemon, and how to print.
//!
//! In: words and environment. Out: conversations, printed data. The SSH side is started only when it is needed.

use std::path::{Path, PathBuf};

use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::ActivationView;
use serde_json::Value;

use super::environment::Environment;
use super::place::{Here, door};
use crate::args::{Common, Format};
use crate::clock;
use crate::console::Console;
use crate::door::ssh::{Keys, Link};
use crate::door::{AGENT_SOCKET, Conversation, DoorError, Spare, Which, socket};
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::activation::full_id;
use crate::render::data::{self, Form};
use crate::render::table::Table;
use crate::render::{At, progress, seed};
use crate::settings::{self, Daemon, OWN, SITE};
use crate::signals::Signals;
use crate::talk::{End, Talk, Told, Wait};

/// Everything a command needs.
#[derive(Debug)]
pub struct Session {
    /// The terminal.
    pub console: Console,
    /// Ctrl-C.
    pub signals: Signals,
    /// What was found around.
    pub around: Environment,
    /// Options for every command.
    pub common: Common,
    link: Option<Link>,
    /// A stream to the daemon on which nothing goes on.
    spare: Option<Spare>,
}

impl Session {
    /// Ready for one command.
    #[must_use]
    pub fn new(mut console: Console, signals: Signals, around: Environment, common: Common) -> Self {
        console.behave(|manner| {
            if common.non_interactive {
                manner.asks = false;
            }
            if common.no_color || around.no_colour {
                manner.out_colour = false;
                manner.err_colour = false;
            }
            manner.quiet = common.quiet;
        });
        Self { console, signals, around, common, link: None, spare: None }
    }

    fn format(&self) -> Format {
        self.common.format.or(self.around.format).unwrap_or(Format::Text)
    }

    /// The form of data when a program reads it; none: people do.
    #[must_use]
    pub fn form(&self) -> Option<Form> {
        self.format().form(self.console.manner().tables)
    }

    /// Whether a program reads the data.
    #[must_use]
    pub fn scripted(&self) -> bool {
        self.form().is_some()
    }

    /// Whether errors are told as JSON.
    #[must_use]
    pub fn json(&self) -> bool {
        self.format() == Format::Json
    }

    /// The person's own client.toml.
    #[must_use]
    pub fn own_settings(&self) -> PathBuf {
        self.around.home.join(OWN)
    }

    /// The pinned daemon, if there is one.
    ///
    /// # Errors
    /// When client.toml is not in order, or ELEVATE_SERVER names a daemon that is not pinned.
    pub fn daemon(&self) -> Result<Option<Daemon>, Failure> {
        let wanted = self.around.server.as_deref();
        Ok(settings::choose(&self.own_settings(), Path::new(SITE), self.around.uid.as_raw(), wanted)?)
    }

    /// Whether this host has an agent. Who answers there is asked of the kernel later.
    #[must_use]
    pub fn managed(&self) -> bool {
        Path::new(AGENT_SOCKET).exists()
    }

    /// The door that an ask would go through.
    ///
    /// # Errors
    /// When there is none.
    pub fn door(&self, ask: &Ask) -> Result<Which, Failure> {
        let managed = self.managed();
        let daemon = self.daemon()?;
        let here = Here { managed, host: self.around.host.as_ref(), pinned: daemon.is_some() };
        Ok(door(ask, here)?)
    }

    fn open(&mut self, which: Which) -> Result<Conversation, Failure> {
        if which == Which::One {
            let stream = socket::agent(Path::new(AGENT_SOCKET), 0)?;
            return Ok(Conversation::over(stream, None)?);
        }
        if let Some(conversation) = self.spare.take().and_then(|spare| spare.again(clock::instant())) {
            return Ok(conversation);
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let daemon = self.daemon()?.ok_or(DoorError::Nowhere)?;
                let named = self.common.identity.clone().or_else(|| daemon.identity.clone());
                let agent = self.around.ssh_agent.clone();
                Link::start(daemon.server(), Keys { named, agent, usual: self.around.usual_keys() })?
            }
        };
        Ok(self.link.insert(link).open()?)
    }

    /// Asks through the door where it belongs, shows progress as text, and gives the end.
    ///
    /// # Errors
    /// When there is no way, or it broke.
    pub fn ask(&mut self, ask: &Ask, wait: Wait) -> Result<End, Failure> {
        let at = self.at();
        self.ask_telling(ask, wait, &mut |console, told| match told {
            Told::Progress(view, before) => {
                progress::changes(view, before, &at).iter().for_each(|line| console.say(line));
            }
            Told::Event(_) => {}
            Told::Seed(uri) => {
                let colour = console.manner().err_colour;
                seed::lines(uri, colour).iter().for_each(|line| console.warn(line));
            }
        })
    }

    /// Asks through a door that is known already: what is decided about is looked at where it is decided.
    ///
    /// # Errors
    /// When there is no way, or it broke.
    pub fn ask_through(&mut self, which: Which, ask: &Ask, wait: Wait) -> Result<End, Failure> {
        self.talk(which, ask, wait, &mut |_, _| {})
    }

    fn talk(
        &mut self,
        which: Which,
        ask: &Ask,
        wait: Wait,
        told: &mut dyn FnMut(&mut Console, Told<'_>),
    ) -> Result<End, Failure> {
        let mut conversation = self.open(which)?;
        let end = Talk::new(&mut conversation, &mut self.console, &self.signals, wait).ask(ask, told)?;
        self.spare = match &end {
            End::Done(_) | End::Refused(_) => conversation.spare(clock::instant()),
            // What was left may still be answered.
            End::Left { .. } => None,
        };
        Ok(end)
    }

    /// The same, with an own way to show what comes meanwhile.
    ///
    /// # Errors
    /// When there is no way, or it broke.
    pub fn ask_telling(
        &mut self,
        ask: &Ask,
        wait: Wait,
        told: &mut dyn FnMut(&mut Console, Told<'_>),
    ) -> Result<End, Failure> {
        let which = self.door(ask)?;
        self.talk(which, ask, wait, told)
    }

    /// Now and here.
    #[must_use]
    pub fn at(&self) -> At {
        At { now: clock::now(), zone: clock::zone() }
    }

    /// Prints data: a value for programs, or lines.
    pub fn show(&mut self, value: &Value, lines: &[Line]) {
        if !self.show_value(value) {
            lines.iter().for_each(|line| self.console.data(line));
        }
    }

    /// Prints a value, if a program reads it. True when it was.
    pub fn show_value(&mut self, value: &Value) -> bool {
        let Some(form) = self.form() else { return false };
        if let Some(text) = data::text(form, value) {
            self.console.json(&text);
        }
        true
    }

    /// Prints a table, or a value for programs.
    pub fn show_table(&mut self, value: &Value, table: &Table) {
        if self.show_value(value) {
            return;
        }
        if self.console.manner().tables {
            table.columns().iter().for_each(|line| self.console.data(line));
        } else {
            table.plain().iter().for_each(|row| self.console.row(row));
        }
    }

    /// With -q: only the ids. True when that was all.
    pub fn only_ids(&mut self, views: &[ActivationView]) -> bool {
        let only = self.common.quiet && !self.scripted();
        if only {
            views.iter().for_each(|view| self.console.data(&Line::plain(&full_id(view))));
        }
        only
    }

    /// Ends the SSH side in order.
    pub fn close(&mut self) {
        self.spare = None;
        if let Some(link) = self.link.take() {
            link.close();
        }
    }
}
