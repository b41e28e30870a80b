//! `[people]`: ids, logins, public keys, dates.
//!
//! In: TOML entries. Out: [`Person`]s, each login and each key of one person only. Spec: docs/policy.md "[people]".

use std::collections::BTreeMap;

use elevate_protocol::name::{Login, Name};
use ssh_key::public::KeyData;
use ssh_key::{Fingerprint, HashAlg, PublicKey};

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
            let key = match plain_key(text) {
                Ok(key) => key,
                Err((message, hint)) => {
                    report.error(item.place, message, hint);
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

/// Reads one line of a `.pub` file: no certificate, no options, strong enough.
fn plain_key(text: &str) -> Result<PersonKey, (String, &'static str)> {
    if text.len() > KEY_MAX || text.chars().any(char::is_control) {
        return Err((format!("a key is one line of at most {KEY_MAX} bytes"), PASTE));
    }
    if text.split(' ').any(|word| word.contains("-cert-v0")) {
        let message = "this is a certificate; who signed it would decide who the person is";
        return Err((message.to_owned(), "paste the plain public key"));
    }
    let key = PublicKey::from_openssh(text).map_err(|error| {
        (format!("this is no plain public key: {}", error.to_string().to_lowercase()), PASTE)
    })?;
    weakness(key.key_data()).map_or(Ok(()), |why| Err((why, "make a new one: ssh-keygen -t ed25519")))?;
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    Ok(PersonKey { public: key, fingerprint })
}

/// Why a key is not good enough. FIDO keys are Ed25519 or P-256 and good.
fn weakness(key: &KeyData) -> Option<String> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            None
        }
        KeyData::Rsa(rsa) => {
            let bytes = rsa.n().as_positive_bytes().unwrap_or(&[]);
            let zeros = bytes.first().map_or(0, |byte| byte.leading_zeros());
            let bits = bytes.len().saturating_mul(8).saturating_sub(usize::try_from(zeros).unwrap_or(0));
            (bits < RSA_MIN).then(|| format!("this RSA key has {bits} bits, at least {RSA_MIN} are needed"))
        }
        KeyData::Dsa(_) => Some("DSA keys have 1024 bits, which is too weak".to_owned()),
        // KeyData is not ours and grows: what is not known above is refused.
        KeyData::Certificate(_) | KeyData::Other(_) | _ => {
            Some("keys of this kind are not supported".to_owned())
        }
    }
}

const RSA_MIN: usize = 3072;
const KEY_MAX: usize = 4096;
const PASTE: &str = "paste the line of the .pub file, without options before it";
