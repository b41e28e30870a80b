//! The one bare word: a role, unless it is a command or looks like an id. Found by the options that clap knows, so that
//! `elevate -d 1h web-ops` works as well as `elevate web-ops -d 1h`.
//!
//! In: the words after the program's name. Out: [`Elevate`], or what to print and the exit code. Corrects nothing.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use elevate_protocol::id::IdPrefix;

use super::Elevate;
use crate::console::Console;
use crate::paint::{Line, lines_of};

/// Reads the words of `elevate`.
///
/// # Errors
/// clap's own error; [`unwind`] tells it.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Elevate, Box<clap::Error>> {
    let words = resolve(words.into_iter().collect());
    let all = std::iter::once(OsString::from("elevate")).chain(words);
    let matches = Elevate::command().try_get_matches_from(all)?;
    Ok(Elevate::from_arg_matches(&matches)?)
}

/// The commands that people may type, with their other names left out.
#[must_use]
pub fn verbs() -> Vec<String> {
    let command = Elevate::command();
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.map(|verb| verb.get_name().to_owned()).collect()
}

/// Puts the command in that a bare word stands for.
fn resolve(mut words: Vec<OsString>) -> Vec<OsString> {
    let command = Elevate::command();
    let Some(word) = first_bare(&command, &words) else { return words };
    let is_verb = word == "help"
        || command
            .get_subcommands()
            .any(|verb| verb.get_name() == word || verb.get_all_aliases().any(|alias| alias == word));
    if !is_verb {
        let verb = if IdPrefix::looks_like(&word) { "take-up" } else { "request" };
        words.insert(0, verb.into());
    }
    words
}

/// The first word that is neither an option nor an option's value.
fn first_bare(command: &Command, words: &[OsString]) -> Option<String> {
    let known: Vec<&Arg> =
        command.get_arguments().chain(command.get_subcommands().flat_map(Command::get_arguments)).collect();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = word.to_str()?;
        if word == "--" {
            return None;
        }
        let takes_next = if let Some(long) = word.strip_prefix("--") {
            !long.contains('=') && known.iter().any(|arg| is_long(arg, long) && takes_next(arg))
        } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
            last_takes_next(&known, cluster)
        } else {
            return Some(word.to_owned());
        };
        if takes_next {
            words.next();
        }
    }
    None
}

fn is_long(arg: &Arg, long: &str) -> bool {
    arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|names| names.contains(&long))
}

fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// `-qd 1h`: the first letter that takes a value takes what follows it, or else the next word.
fn last_takes_next(known: &[&Arg], cluster: &str) -> bool {
    for (place, letter) in cluster.char_indices() {
        if known.iter().any(|arg| arg.get_short() == Some(letter) && takes_next(arg)) {
            return cluster.len() == place.saturating_add(letter.len_utf8());
        }
    }
    false
}

/// Prints what clap has to say, with what is known about odd habits, and gives the exit code.
pub fn unwind(console: &mut Console, error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        lines_of(&text).iter().for_each(|line| console.data(line));
        return 0;
    }
    lines_of(text.trim_end()).iter().for_each(|line| console.warn(line));
    if let Some(hint) = hint(error) {
        console.warn(&Line::plain("hint:").then("  ").then(hint));
    }
    2
}

/// Habits of other programs.
fn hint(error: &clap::Error) -> Option<&'static str> {
    let about = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.as_str(),
        Some(ContextValue::Strings(args)) => args.first().map_or("", String::as_str),
        _ => "",
    };
    match about {
        text if text.starts_with("--host") || text.starts_with("-H") => {
            Some("-H is a host here (-H web1), not sudo's home folder; without it: this host")
        }
        text if text.starts_with("-u") || text.starts_with("--as") || text.starts_with("--user") => {
            Some("the role says as whom; name somebody else to sudo itself: sudo -u NAME CMD")
        }
        text if text.starts_with("-s") => Some("a shell is: elevate shell ROLE"),
        text if text.starts_with("--add") => Some("elevate ROLE"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "bare_tests.rs"]
mod tests;
