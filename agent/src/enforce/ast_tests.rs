//! What sudo itself understands of our drop-ins, against what was granted: 10^5 generated roles (threats A03, X-j).
//!
//! In: roles from a seeded generator. Out: pass, or the first person whose rules differ, with their text.
//! Runs as: anybody; asks cvtsudoers(1) and visudo(8), a thousand people in one file.

#![allow(clippy::arithmetic_side_effects, reason = "sums of small numbers in a test; an overflow fails it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use elevate_protocol::date;
use elevate_protocol::name::Name;
use elevate_protocol::sudo::{ARG_LEN_MAX, ARGS_MAX, SudoPart};
use elevate_protocol::time::Span;

use super::reader::{self, Rule, What};
use super::samples::{NOW, grant, held};
use super::{check, render};
use crate::child;
use crate::flavour::Dialect;
use crate::store::documents::Held;

/// Generated roles, and how many of them share a file.
const ROLES: u32 = 100_000;
const IN_ONE_FILE: u32 = 1000;
/// The uid of the first; each role is another person's, so that a rule of one cannot stand for another's.
const FIRST: u32 = 100_000;
/// Enough for cvtsudoers on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A sequence of numbers from a seed: Sebastiano Vigna's SplitMix64, public domain.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn letters(&mut self, first: &str, rest: &str, longest: usize) -> String {
        let mut text = String::from(char::from(first.as_bytes()[self.below(first.len())]));
        for _ in 0..self.below(longest) {
            text.push(char::from(rest.as_bytes()[self.below(rest.len())]));
        }
        text
    }
}

const PLAIN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+./-";
const OF_A_PATH: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+-";
/// The three that are escaped come often.
const OF_AN_ARGUMENT: &str = "=:,=:,=:,ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+./-";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz_";
const OF_A_NAME: &str = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
/// Words that mean something elsewhere in sudoers(5).
const WORDS: [&str; 24] = [
    "ALL",
    "NOPASSWD:",
    "PASSWD:",
    "SETENV:",
    "NOEXEC:",
    "sudoedit",
    "list",
    "validate",
    "Defaults",
    "User_Alias",
    "sha256:YQ==",
    "sha224",
    "@include",
    "@includedir",
    "%wheel",
    "%:group",
    "+netgroup",
    "alice,ALL",
    "=",
    ":",
    ",",
    "-h",
    "--",
    "TIMEOUT=1",
];

fn path(numbers: &mut Numbers) -> String {
    if numbers.below(20) == 0 {
        return format!(
            "/{}",
            numbers.of(&["ALL", "list", "Defaults", "opt/sudoedit/x", "sbin/sudo", "%g", "@a", "+n"])
        );
    }
    let mut text = String::new();
    for _ in 0..=numbers.below(4) {
        text.push('/');
        text.push_str(&numbers.letters(OF_A_PATH, PLAIN.replace('/', "").as_str(), 10));
    }
    text
}

fn argument(numbers: &mut Numbers) -> String {
    match numbers.below(12) {
        0 | 1 => numbers.of(&WORDS).to_owned(),
        2 if numbers.below(200) == 0 => "=".repeat(ARG_LEN_MAX),
        _ => numbers.letters(OF_AN_ARGUMENT, OF_AN_ARGUMENT, 14),
    }
}

fn command(numbers: &mut Numbers) -> Vec<String> {
    let arguments = if numbers.below(500) == 0 { ARGS_MAX - 1 } else { numbers.below(5) };
    let mut argv = vec![path(numbers)];
    argv.extend((0..arguments).map(|_| argument(numbers)));
    argv
}

fn role(numbers: &mut Numbers) -> SudoPart {
    let run_as: Name = loop {
        if let Ok(name) = numbers.letters(LOWER, OF_A_NAME, 12).parse() {
            break name;
        }
    };
    let run: Vec<_> = (0..numbers.below(4)).map(|_| command(numbers).try_into().unwrap()).collect();
    let edit: Vec<_> = (0..numbers.below(3)).map(|_| path(numbers).try_into().unwrap()).collect();
    SudoPart::only(run_as.clone(), run, edit).unwrap_or_else(|_| SudoPart::everything(run_as))
}

/// The grants of one person: of one role, sometimes of two or three, with ends of their own.
fn grants(numbers: &mut Numbers, uid: u32) -> Vec<Held> {
    let roles = if numbers.below(10) == 0 { 3 } else { 1 };
    (1..=roles)
        .map(|id| {
            let mut terms = grant(id, uid, role(numbers));
            terms.not_after = NOW.after(Span(u32::try_from(1 + numbers.below(86_000)).unwrap()));
            held(terms)
        })
        .collect()
}

/// What cvtsudoers(1) makes of a text, as rules of ours, for each uid.
fn as_sudo_reads(text: &str) -> BTreeMap<u32, BTreeSet<Rule>> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("drop-ins");
    std::fs::write(&file, text).unwrap();
    let made = place.path().join("json");
    let (path, to) = (file.to_string_lossy().into_owned(), made.to_string_lossy().into_owned());
    let arguments = ["-f", "json", "-o", &to, &path];
    let answer = child::run(Path::new("/usr/bin/cvtsudoers"), &arguments, DEADLINE).unwrap();
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&made).unwrap()).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["User_Specs"]);
    let mut people: BTreeMap<u32, BTreeSet<Rule>> = BTreeMap::new();
    for spec in json["User_Specs"].as_array().unwrap() {
        assert_eq!(spec["Host_List"], serde_json::json!([{"hostname": "ALL"}]));
        let users = spec["User_List"].as_array().unwrap();
        assert_eq!((users.len(), users[0].as_object().unwrap().len()), (1, 1), "{spec}");
        let uid = u32::try_from(users[0]["userid"].as_u64().unwrap()).unwrap();
        let rules = people.entry(uid).or_default();
        for group in spec["Cmnd_Specs"].as_array().unwrap() {
            rules.extend(rules_of(uid, group));
        }
    }
    people
}

fn rules_of(uid: u32, group: &serde_json::Value) -> Vec<Rule> {
    let keys: BTreeSet<&str> = group.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["runasusers", "Options", "Commands"]), "{group}");
    let options = group["Options"].as_array().unwrap();
    let option = |name: &str| options.iter().find_map(|option| option.get(name)).cloned();
    assert_eq!(option("authenticate"), Some(serde_json::json!(false)), "{group}");
    // sudoers(5) "SETENV": sudo adds it to the command ALL by itself; no other rule has a third option.
    let all = group["Commands"] == serde_json::json!([{"command": "ALL"}]);
    assert_eq!(
        (options.len(), option("setenv").is_some()),
        if all { (3, true) } else { (2, false) },
        "{group}"
    );
    let last = date::read(option("notafter").unwrap().as_str().unwrap()).unwrap();
    let run_as = group["runasusers"].as_array().unwrap();
    assert_eq!((run_as.len(), run_as[0].as_object().unwrap().len()), (1, 1), "{group}");
    let run_as = run_as[0]["username"].as_str().unwrap();
    let rule = |command: &serde_json::Value| {
        assert_eq!(command.as_object().unwrap().len(), 1, "{command}");
        let what = what_sudo_reads(command["command"].as_str().unwrap());
        Rule { uid, run_as: run_as.to_owned(), last: Some(last), what }
    };
    group["Commands"].as_array().unwrap().iter().map(rule).collect()
}

/// sudo keeps the backslashes of arguments, and fnmatch(3) takes them away when it compares.
fn what_sudo_reads(command: &str) -> What {
    if command == "ALL" {
        return What::Everything;
    }
    if let Some(path) = command.strip_prefix("sudoedit ") {
        return What::Edit(path.to_owned());
    }
    let mut words = Vec::new();
    for written in command.split(' ') {
        let mut word = String::new();
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            let letter = if letter == '\\' { letters.next().unwrap() } else { letter };
            assert!(!"*?[]!".contains(letter), "a wildcard: {command}");
            word.push(letter);
        }
        words.push(word);
    }
    if words.len() == 2 && words[1] == "\"\"" {
        words.pop();
    }
    What::Command(words)
}

/// One file of a thousand people, through our reader and through sudo's.
fn file_of(number: u32) {
    let mut numbers = Numbers(u64::from(number));
    let mut whole = String::new();
    let mut intended = BTreeMap::new();
    for uid in (FIRST..).skip(usize::try_from(number * IN_ONE_FILE).unwrap()).take(1000) {
        let held = grants(&mut numbers, uid);
        let live: Vec<_> = held.iter().map(|held| held.verified.live(NOW).unwrap()).collect();
        let text = render::drop_in(Dialect::Classic, uid, &live).unwrap();
        assert_eq!(reader::prove(Dialect::Classic, &text, uid, &live), Ok(()), "{text}");
        intended.insert(uid, (reader::intended(Dialect::Classic, uid, &live).rules, text.clone()));
        whole.push_str(&text);
    }
    let mut found = as_sudo_reads(&whole);
    for (uid, (rules, text)) in intended {
        assert_eq!(found.remove(&uid), Some(rules), "file {number}\n{text}");
    }
    assert!(found.is_empty(), "rules for people whom nobody granted anything: {found:?}");
    let place = tempfile::tempdir().unwrap();
    check::visudo(Dialect::Classic, &place.path().join(".check"), &whole).unwrap();
}

/// Our reader and sudo's own understand of every role what was granted, and nothing else. Four parts, side by side.
fn quarter(number: u32) {
    let files = ROLES / IN_ONE_FILE / 4;
    (number * files..(number + 1) * files).for_each(file_of);
}

#[test]
fn a03_sudo_itself_reads_what_was_granted_in_the_first_quarter_of_100_000_roles() {
    quarter(0);
}

#[test]
fn a03_sudo_itself_reads_what_was_granted_in_the_second_quarter_of_100_000_roles() {
    quarter(1);
}

#[test]
fn a03_sudo_itself_reads_what_was_granted_in_the_third_quarter_of_100_000_roles() {
    quarter(2);
}

#[test]
fn a03_sudo_itself_reads_what_was_granted_in_the_fourth_quarter_of_100_000_roles() {
    quarter(3);
}
