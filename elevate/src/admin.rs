//! The commands of `elevatectl`: asks on the daemon's own socket, or with one's own key under a grant to administer.
//!
//! In: parsed words. Out: data on stdout, an exit code. Runs as: root or the daemon's own account on its machine; or a person.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RestoreView, RevokeWhat};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::Name;
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::admin::{
    Audit, Elevatectl, Host, LabelChange, NameChange, OnWhat, Person, Policy, Restore, Revoke, Ssh, Verb,
};
use crate::args::keys::Key;
use crate::clock;
use crate::console::Console;
use crate::door::ssh::{Keys, Link};
use crate::door::{ADMIN_SOCKET, Conversation, socket};
use crate::export;
use crate::failure::{Failure, tell};
use crate::pages::{Program, completion};
use crate::paint::{Line, Tone, lines_of};
use crate::people::Environment;
use crate::render::data::{self, EVENT, Form, Stream};
use crate::render::json::{activations, schema};
use crate::render::table::Table;
use crate::render::{At, activation, admin, keys, locks, restore};
use crate::settings::{self, OWN, SITE};
use crate::signals::Signals;
use crate::talk::{End, Talk, TalkError, Told, Wait};

/// One run of `elevatectl`.
#[derive(Debug)]
pub struct Administration {
    /// The terminal.
    pub console: Console,
    /// Ctrl-C.
    pub signals: Signals,
    /// The form of data when a program reads it; none: people do.
    pub form: Option<Form>,
}

/// Does what was typed and gives the exit code.
pub fn run(console: Console, signals: Signals, words: &Elevatectl, around: &Environment) -> (Console, u8) {
    let format = words.format.or(around.format).unwrap_or(Format::Text);
    let json = format == Format::Json;
    let form = format.form(console.manner().tables);
    let mut run = Administration { console, signals, form };
    let exit = match run.dispatch(words, around) {
        Ok(exit) => exit,
        Err(failure) => tell(&mut run.console, &failure.refusal(), json),
    };
    (run.console, exit)
}

impl Administration {
    fn dispatch(&mut self, words: &Elevatectl, around: &Environment) -> Result<u8, Failure> {
        if let Verb::Completion { shell } = &words.verb {
            self.console.script(&completion(Program::Elevatectl, *shell));
            return Ok(0);
        }
        let (ask, wait) = ask(&words.verb)?;
        let (conversation, link) = open(words, around)?;
        let done = self.talk(words, (&ask, wait), conversation);
        if let Some(link) = link {
            link.close();
        }
        done
    }

    fn talk(
        &mut self,
        words: &Elevatectl,
        (ask, wait): (&Ask, Wait),
        mut conversation: Conversation,
    ) -> Result<u8, Failure> {
        let zone = clock::zone();
        let mut stream = self.form.map(|form| Stream::new(form, EVENT));
        let mut told = |console: &mut Console, told: Told<'_>| match told {
            Told::Event(event) => match (&mut stream, serde_json::from_str(event)) {
                // As it is stored, byte for byte.
                (Some(_), _) if self.form.is_some_and(|form| matches!(form, Form::Line | Form::Lines)) => {
                    console.json(event);
                }
                (Some(stream), Ok(value)) => console.json(&stream.next(&value)),
                (Some(_), Err(_)) => {}
                (None, _) => {
                    console.data(&admin::event(event, &At { now: clock::now(), zone: zone.clone() }));
                }
            },
            Told::Progress(..) | Told::Seed(_) => {}
        };
        let end = Talk::new(&mut conversation, &mut self.console, &self.signals, wait).ask(ask, &mut told)?;
        match end {
            End::Done(Outcome::Admin(AdminOutcome::SshExport(export))) => {
                let Verb::Ssh(Ssh::Export(to)) = &words.verb else {
                    return Err(TalkError::Unexpected("another outcome").into());
                };
                let written = export::write(&export, to)?;
                self.data(&written.json(), &written.lines());
                Ok(0)
            }
            End::Done(Outcome::Admin(outcome)) => Ok(self.show(&words.verb, outcome)),
            // Following ends with Ctrl-C.
            End::Left { .. } if wait == Wait::Follow => Ok(0),
            End::Left { .. } => Err(Failure::Refused(Refusal::new(Code::Internal, "interrupted"))),
            End::Refused(refusal) => Err(Failure::Refused(refusal)),
            End::Done(_) => Err(TalkError::Unexpected("another outcome").into()),
        }
    }

    fn show(&mut self, verb: &Verb, outcome: AdminOutcome) -> u8 {
        let at = At { now: clock::now(), zone: clock::zone() };
        match outcome {
            AdminOutcome::Paste { line, valid, counts_at } => {
                self.data(&admin::paste_json(&line, valid, counts_at), &[Line::plain(line.expose())]);
                self.console.say(&Line::of(Tone::Faint, &format!("Valid {valid}, once. {}", next(verb))));
                counts_at.iter().for_each(|at_| self.console.say(&admin::waits(*at_, &at)));
            }
            AdminOutcome::People(views) if self.only_names() => {
                views.iter().for_each(|view| self.console.data(&Line::plain(view.person.as_str())));
            }
            AdminOutcome::Hosts(views) if self.only_names() => {
                views.iter().for_each(|view| self.console.data(&Line::plain(view.name.as_str())));
            }
            AdminOutcome::People(views) => {
                self.table(&admin::people_json(&views), &admin::people(&views, &at));
            }
            AdminOutcome::Hosts(views) => self.table(&admin::hosts_json(&views), &admin::hosts(&views, &at)),
            AdminOutcome::Keys { keys: _, signers } if matches!(verb, Verb::Key(Key::Signers)) => {
                let value = schema("signers", json!({ "text": signers }));
                self.data(&value, &lines_of(&signers));
            }
            AdminOutcome::Keys { keys, signers: _ } => {
                self.table(&keys::json(&keys), &keys::table(&keys, &at));
            }
            AdminOutcome::Sinks(views) => self.table(&admin::sinks_json(&views), &admin::sinks(&views, &at)),
            AdminOutcome::Policy { text, digest } => {
                let value = schema("policy", json!({ "text": text, "digest": digest }));
                self.data(&value, &lines_of(&text));
                self.console.say(&Line::of(Tone::Faint, &digest));
            }
            AdminOutcome::Revoked(views) => {
                let lines: Vec<Line> = views.iter().map(|view| activation::one_line(view, &at)).collect();
                self.data(&activations(&views, at.now), &lines);
                if views.is_empty() {
                    self.console.say(&Line::plain("Nothing was active or waiting there."));
                }
            }
            AdminOutcome::Locked(view) => {
                self.data(&locks::locked_json(&view), &locks::locked(&view, &at));
                locks::notes(&view).iter().for_each(|line| self.console.say(line));
                // What a host has not confirmed may still be used there: a script must not take it for done.
                return if view.unconfirmed_count == 0 { 0 } else { Code::Host.exit() };
            }
            AdminOutcome::Unlocked(views) => {
                self.table(&locks::list_json(&views), &locks::list(&views, &at));
                self.console.say(&Line::plain(
                    "Unlocked. What was ended stays ended; approvals of that time do not count again.",
                ));
            }
            AdminOutcome::Locks(views) => {
                self.table(&locks::list_json(&views), &locks::list(&views, &at));
                if views.is_empty() {
                    self.console.say(&Line::plain("Nothing is locked."));
                }
            }
            AdminOutcome::Restore(view) => return self.restore(view.as_ref(), &at),
            AdminOutcome::Restored { ended, refused } => self.restored(ended, refused),
            // Written before it is shown, see [`Administration::talk`].
            AdminOutcome::SshExport(_) | AdminOutcome::Ok => {}
        }
        0
    }

    /// What is known of a backup that was laid back. A script that looks finds out by the code.
    fn restore(&mut self, view: Option<&RestoreView>, at: &At) -> u8 {
        self.data(&restore::json(view), &restore::lines(view, at));
        view.map_or(0, |_| Code::Locked.exit())
    }

    fn restored(&mut self, ended: u32, refused: u32) {
        self.data(&restore::accepted_json(ended, refused), &restore::accepted(ended, refused));
    }

    /// With -q, a list for people is its names.
    fn only_names(&self) -> bool {
        self.form.is_none() && self.console.manner().quiet
    }

    fn data(&mut self, value: &Value, lines: &[Line]) {
        if !self.value(value) {
            lines.iter().for_each(|line| self.console.data(line));
        }
    }

    fn table(&mut self, value: &Value, table: &Table) {
        if self.value(value) {
            return;
        }
        if self.console.manner().tables {
            table.columns().iter().for_each(|line| self.console.data(line));
        } else {
            table.plain().iter().for_each(|row| self.console.row(row));
        }
    }

    /// Prints a value, if a program reads it. True when it was.
    fn value(&mut self, value: &Value) -> bool {
        let Some(form) = self.form else { return false };
        if let Some(text) = data::text(form, value) {
            self.console.json(&text);
        }
        true
    }
}

/// Root on the daemon's machine, and its own account, use its socket; everybody else their own key. ELEVATE_SERVER says that it
/// is the key, `--socket` that it is the socket.
fn open(words: &Elevatectl, around: &Environment) -> Result<(Conversation, Option<Link>), Failure> {
    let uid = around.uid.as_raw();
    let local = |path: &Path| Ok((Conversation::over(socket::admin(path)?, None)?, None));
    if let Some(path) = &words.socket {
        return local(path);
    }
    let path = Path::new(ADMIN_SOCKET);
    let own = path.symlink_metadata().is_ok_and(|file| uid == 0 || file.uid() == uid);
    if own && around.server.is_none() {
        return local(path);
    }
    let server = around.server.as_deref();
    match settings::choose(&around.home.join(OWN), Path::new(SITE), uid, server)? {
        None => local(path),
        Some(daemon) => {
            let named = words.identity.clone().or_else(|| daemon.identity.clone());
            let keys = Keys { named, agent: around.ssh_agent.clone(), usual: around.usual_keys() };
            let link = Link::start(daemon.server(), keys)?;
            Ok((link.open()?, Some(link)))
        }
    }
}

/// What to do with a paste string.
fn next(verb: &Verb) -> &'static str {
    match verb {
        Verb::Person(_) => "The person types: elevate login STRING, then elevate mfa add",
        Verb::Host(_) => "On the host, as root: elevate-agent enroll < FILE",
        Verb::Policy(_)
        | Verb::Revoke(_)
        | Verb::Lock(_)
        | Verb::Unlock(_)
        | Verb::Locks
        | Verb::Restore { .. }
        | Verb::Audit(_)
        | Verb::Key(_)
        | Verb::Ssh(_)
        | Verb::Sinks
        | Verb::Completion { .. } => "",
    }
}

fn ask(verb: &Verb) -> Result<(Ask, Wait), Failure> {
    let mut wait = Wait::Machines;
    let ask = match verb {
        Verb::Person(Person::Invite { person, valid }) => {
            AdminAsk::PersonInvite { person: person.clone(), valid: *valid }
        }
        Verb::Person(Person::Reset { person, reason }) => {
            AdminAsk::PersonReset { person: person.clone(), reason: reason.clone() }
        }
        Verb::Person(Person::Confirm { person, what }) => {
            AdminAsk::PersonConfirm { person: person.clone(), what: what.clone() }
        }
        Verb::Person(Person::List) => AdminAsk::PersonList,
        Verb::Host(Host::Invite { name, labels, names, valid }) => AdminAsk::HostInvite {
            name: name.clone(),
            labels: labels.iter().cloned().collect(),
            names: names.clone(),
            valid: *valid,
        },
        Verb::Host(Host::Label { name, changes }) => relabel(name, changes),
        Verb::Host(Host::Name { name, changes }) => rename(name, changes),
        Verb::Host(Host::Confirm { name, by }) => {
            AdminAsk::HostConfirm { name: name.clone(), by: by.clone() }
        }
        Verb::Host(Host::List) => AdminAsk::HostList,
        Verb::Policy(Policy::Check) => AdminAsk::PolicyCheck,
        Verb::Policy(Policy::Diff) => AdminAsk::PolicyDiff,
        Verb::Policy(Policy::Show { effective: _ }) => AdminAsk::PolicyShow,
        Verb::Policy(Policy::Reload) => AdminAsk::PolicyReload,
        // It is nothing to ask: [`Administration::dispatch`] has answered it.
        Verb::Completion { .. } => {
            return Err(Failure::usage("completions need no daemon", "elevatectl completion bash"));
        }
        Verb::Revoke(revoke) => AdminAsk::Revoke { what: what(revoke)?, reason: revoke.reason.clone() },
        Verb::Key(Key::List | Key::Signers) => AdminAsk::KeyList,
        Verb::Key(Key::Rotate { signs, overlap, key_type }) => {
            let key_type = key_type.map(Into::into);
            AdminAsk::KeyRotate { signs: (*signs).into(), overlap: *overlap, key_type }
        }
        Verb::Ssh(Ssh::Export(words)) => {
            export::into(&words.into)?;
            AdminAsk::SshExport
        }
        Verb::Sinks => AdminAsk::SinkList,
        Verb::Lock(lock) => {
            AdminAsk::Lock { what: on_what(&lock.what)?, ttl: lock.ttl, reason: lock.reason.clone() }
        }
        Verb::Unlock(words) => AdminAsk::Unlock { what: on_what(&words.what)?, reason: words.reason.clone() },
        Verb::Locks => AdminAsk::LockList,
        Verb::Restore { verb: None } => AdminAsk::RestoreShow,
        Verb::Restore { verb: Some(Restore::Accept { reason }) } => {
            AdminAsk::RestoreAccept { reason: reason.clone() }
        }
        Verb::Audit(Audit::Tail { last, follow }) => {
            if *follow {
                wait = Wait::Follow;
            }
            AdminAsk::AuditTail { last: *last, follow: *follow }
        }
    };
    Ok((Ask::Admin(ask), wait))
}

fn relabel(name: &Name, changes: &[LabelChange]) -> AdminAsk {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for change in changes {
        match change {
            LabelChange::Set(key, value) => drop(set.insert(key.clone(), value.clone())),
            LabelChange::Remove(key) => remove.push(key.clone()),
        }
    }
    AdminAsk::HostLabel { name: name.clone(), set, remove }
}

fn rename(name: &Name, changes: &[NameChange]) -> AdminAsk {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            NameChange::Add(name) => add.push(name.clone()),
            NameChange::Remove(name) => remove.push(name.clone()),
        }
    }
    AdminAsk::HostNames { name: name.clone(), add, remove }
}

/// clap has seen to it that there is exactly one; anything else would revoke too much or nothing.
fn what(revoke: &Revoke) -> Result<RevokeWhat, Failure> {
    match (&revoke.grant, &revoke.person, &revoke.host, &revoke.role) {
        (Some(grant), None, None, None) => Ok(RevokeWhat::Grant(grant.clone())),
        (None, Some(person), None, None) => Ok(RevokeWhat::Person(person.clone())),
        (None, None, Some(host), None) => Ok(RevokeWhat::Host(host.clone())),
        (None, None, None, Some(role)) => Ok(RevokeWhat::Role(role.clone())),
        _ => Err(Failure::usage("revoke one thing at a time", "a grant, --person, --host or --role")),
    }
}

/// As [`what`]: exactly one.
fn on_what(words: &OnWhat) -> Result<LockWhat, Failure> {
    match (&words.person, &words.role, &words.host, words.all) {
        (Some(person), None, None, false) => Ok(LockWhat::Person(person.clone())),
        (None, Some(role), None, false) => Ok(LockWhat::Role(role.clone())),
        (None, None, Some(host), false) => Ok(LockWhat::Host(host.clone())),
        (None, None, None, true) => Ok(LockWhat::Everything),
        _ => Err(Failure::usage("lock one thing at a time", "--person, --role, --host or --all")),
    }
}
