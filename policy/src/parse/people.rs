//! `[people]`: ids, logins, public keys, dates.
//!
//! In: TOML entries. Out: [`Person`]s, each login and each key of one person only. Spec: docs/policy.md "[people]".

use std::collections::BTreeMap;

use elevate_protocol::name::{Login, Name};
use elevate_protocol::person_key::{self, PersonKeyError};
use ssh_key::{Fingerprint, HashAlg};

use super::members::Known;
use super::reader::{Entry, Item, Place, Report, Table, name};
use crate::policy::Edge;
use crate::policy::person::{Person, PersonKey};

/// Everybody, and by what they are found.
#[derive(Debug, Default)]
pub(super) struct People {
    pub(super) people: BTreeMap<Name, Person>,
    pub(super) keys: BTreeMap<Fingerprint, Name>,
    pub(super) logins: BTreeMap<Login, Name>,
    key_places: BTreeMap<Fingerprint, Place>,
    login_places: BTreeMap<Login, Place>,
}

const KEYS: [&str; 5] = ["keys", "login", "until", "manager", "sponsor"];
const FORM: &str = "write { keys = [\"ssh-ed25519 AAAA… comment\"] }";

/// Reads `[people]`.
pub(super) fn people(report: &mut Report<'_>, section: &[Entry<'_>], known: &Known) -> People {
    let mut all = People::default();
    for entry in section {
        let table = entry.value.table(report, &KEYS, FORM);
        if let (Some(id), Some(table)) = (name(report, entry.key, entry.key_place), table) {
            let login = login(report, entry, &id, &table);
            let keys = all.keys(report, &id, table.get("keys"));
            let until = table.get("until").and_then(|item| item.moment(report, Edge::End));
            let manager = other(report, known, table.get("manager"));
            let sponsor = other(report, known, table.get("sponsor"));
            if let Some((login, place)) = login {
                all.add(report, place, Person { name: id, login, keys, until, manager, sponsor });
            }
        }
    }
    all
}

/// A person named for information; a name that nobody has is still an error.
fn other(report: &mut Report<'_>, known: &Known, item: Option<Item<'_>>) -> Option<Name> {
    let item = item?;
    let text = item.text(report)?;
    known.person(report, text, item.place)
}

impl People {
    /// Two people with one login would be one person on a host.
    fn add(&mut self, report: &mut Report<'_>, place: Place, person: Person) {
        if let Some(first) = self.login_places.get(&person.login) {
            let message = format!("the login {:?} is already at {}", person.login, report.shown(*first));
            report.error(place, message, "give each person their own login");
            return;
        }
        self.login_places.insert(person.login.clone(), place);
        self.logins.insert(person.login.clone(), person.name.clone());
        self.people.insert(person.name.clone(), person);
    }

    fn keys(&mut self, report: &mut Report<'_>, id: &Name, item: Option<Item<'_>>) -> Vec<PersonKey> {
        let items = item.and_then(|item| item.list(report)).unwrap_or_default();
        let mut keys = Vec::new();
        for item in items {
            let Some(text) = item.text(report) else { continue };
            let key = match person_key::parse(text) {
                Ok(public) => PersonKey { fingerprint: public.fingerprint(HashAlg::Sha256), public },
                Err(error) => {
                    report.error(item.place, error.to_string(), instead(&error));
                    continue;
                }
            };
            if let Some(first) = self.key_places.get(&key.fingerprint) {
                let message = format!("the key {} is already at {}", key.fingerprint, report.shown(*first));
                report.error(item.place, message, "a key names one person: take it out of one of the places");
                continue;
            }
            self.key_places.insert(key.fingerprint, item.place);
            self.keys.insert(key.fingerprint, id.clone());
            keys.push(key);
        }
        keys
    }
}

/// The login as written, or the id; with the place that says it.
fn login(report: &mut Report<'_>, entry: &Entry<'_>, id: &Name, table: &Table<'_>) -> Option<(Login, Place)> {
    let (login, place) = match table.get("login") {
        None => (Login::from(id.clone()), entry.key_place),
        Some(item) => match item.text(report)?.parse::<Login>() {
            Ok(login) => (login, item.place),
            Err(error) => {
                report.error(
                    item.place,
                    format!("no login: {error}"),
                    "write what `id -un` says on the hosts",
                );
                return None;
            }
        },
    };
    if login.as_str() == "root" {
        let message = "root is no person: what root may do is not Elevate's to give";
        report.error(place, message, "name the person's own login");
        return None;
    }
    Some((login, place))
}

/// What to do instead.
fn instead(error: &PersonKeyError) -> &'static str {
    match error {
        PersonKeyError::Line | PersonKeyError::Form { .. } => {
            "paste the line of the .pub file, without options before it"
        }
        PersonKeyError::Certificate => "paste the plain public key",
        PersonKeyError::Rsa { .. } | PersonKeyError::Dsa | PersonKeyError::Kind => {
            "make a new one: ssh-keygen -t ed25519"
        }
    }
}
