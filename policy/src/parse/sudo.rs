//! The sudo part of a role: alternatives expanded to exact commands, everything else through the strict types.
//!
//! In: `sudo = { as, run, edit, shell }`. Out: [`SudoPart`], and warnings for commands that equal a shell.
//! Spec: docs/policy.md "sudo". Threats A02, A05–A08.

use elevate_protocol::name::Name;
use elevate_protocol::sudo::{COMMANDS_MAX, Command, RulePath, SudoError, SudoPart};

use super::reader::{Item, Report, Table};
use crate::lint;

const KEYS: [&str; 4] = ["as", "run", "edit", "shell"];
const FORM: &str =
    "write { as = \"root\", run = [[\"/usr/bin/systemctl\", \"restart\", \"nginx.service\"]] }";
const RUN: &str = "write [[\"/usr/bin/program\", \"argument\"]], one inner list for each command";
const EDIT: &str = "write edit = [\"/var/www/page.html\"]";

/// Reads the part; every error is reported.
pub(super) fn sudo(report: &mut Report<'_>, item: Item<'_>) -> Option<SudoPart> {
    let table = item.table(report, &KEYS, FORM)?;
    let run_as = table.need(report, "as", "write as = \"root\", or another account").and_then(|item| {
        let text = item.text(report)?;
        run_as(report, item, text)
    });
    let shell = match table.get("shell") {
        Some(item) => item.flag(report)?,
        None => false,
    };
    let run = lists(report, &table, "run", RUN, command);
    let edit = lists(report, &table, "edit", EDIT, |report, item| file(report, item).map(|path| vec![path]));
    let (run_as, run, edit) = (run_as?, run?, edit?);
    if shell {
        if run.is_empty() && edit.is_empty() {
            return Some(SudoPart::everything(run_as));
        }
        refuse(report, item, &SudoError::ShellAndList);
        return None;
    }
    SudoPart::only(run_as, run, edit).map_err(|error| refuse(report, item, &error)).ok()
}

/// Threat A06: no list, no negation, no number, no `ALL` as the account.
fn run_as(report: &mut Report<'_>, item: Item<'_>, text: &str) -> Option<Name> {
    match text.parse::<Name>() {
        Ok(name) => Some(name),
        Err(error) => {
            let hint = "write the one account, as = \"postgres\"; negations, numbers and ALL widen a rule";
            report.error(item.place, format!("{text:?} is no account to run as: {error}"), hint);
            None
        }
    }
}

/// A list that is absent or filled. None when something in it is wrong.
fn lists<T>(
    report: &mut Report<'_>,
    table: &Table<'_>,
    key: &str,
    hint: &str,
    read: impl Fn(&mut Report<'_>, Item<'_>) -> Option<Vec<T>>,
) -> Option<Vec<T>> {
    let Some(item) = table.get(key) else { return Some(Vec::new()) };
    let items = item.filled_list(report, hint)?;
    let all: Vec<Option<Vec<T>>> = items.into_iter().map(|item| read(report, item)).collect();
    let all: Vec<T> = all.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
    if all.len() > COMMANDS_MAX {
        refuse(report, item, &SudoError::TooManyCommands { found: all.len() });
        return None;
    }
    Some(all)
}

/// One command with its alternatives, as exact commands.
fn command(report: &mut Report<'_>, item: Item<'_>) -> Option<Vec<Command>> {
    if !item.is_list() {
        item.refuse_kind(report, "a list of the path and each argument", RUN);
        return None;
    }
    let parts = item.filled_list(report, RUN)?;
    let mut argvs: Vec<Vec<String>> = vec![Vec::new()];
    let mut good = true;
    for (index, part) in parts.into_iter().enumerate() {
        let Some(words) = words(report, part, index == 0) else {
            good = false;
            continue;
        };
        // The product is bounded before it is made.
        let found = argvs.len().saturating_mul(words.len());
        if found > COMMANDS_MAX {
            refuse(report, item, &SudoError::TooManyCommands { found });
            return None;
        }
        let longer = |argv: &Vec<String>| -> Vec<Vec<String>> {
            words.iter().map(|word| argv.iter().chain([word]).cloned().collect()).collect()
        };
        argvs = argvs.iter().flat_map(longer).collect();
    }
    if !good {
        return None;
    }
    let commands: Result<Vec<Command>, SudoError> = argvs.into_iter().map(Command::try_from).collect();
    let commands = commands.map_err(|error| refuse(report, item, &error)).ok()?;
    for command in &commands {
        if let Some(escape) = lint::escape(command) {
            report.warning(item.place, format!("`{command}` equals a shell: {escape}"), escape.instead());
        }
    }
    Some(commands)
}

/// One argument, or the alternatives for it; each checked where it stands.
fn words(report: &mut Report<'_>, part: Item<'_>, is_path: bool) -> Option<Vec<String>> {
    let items = if part.is_list() {
        part.filled_list(report, "name at least one alternative, or leave the argument out")?
    } else {
        vec![part]
    };
    let checked = |item: Item<'_>| {
        let text = item.text(report)?;
        word(report, item, text, is_path)
    };
    let words: Vec<Option<String>> = items.into_iter().map(checked).collect();
    words.into_iter().collect()
}

/// The strict types decide; a harmless path stands before an argument so that it can be checked alone.
fn word(report: &mut Report<'_>, item: Item<'_>, text: &str, is_path: bool) -> Option<String> {
    let argv = if is_path { vec![text.to_owned()] } else { vec!["/bin/true".to_owned(), text.to_owned()] };
    match Command::try_from(argv) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            refuse(report, item, &error);
            None
        }
    }
}

fn file(report: &mut Report<'_>, item: Item<'_>) -> Option<RulePath> {
    let path = RulePath::try_from(item.text(report)?.to_owned());
    let path = path.map_err(|error| refuse(report, item, &error)).ok()?;
    if let Some(escape) = lint::edit_escape(&path) {
        let message = format!("editing {} equals a shell: {escape}", path.as_str());
        report.warning(item.place, message, escape.instead());
    }
    Some(path)
}

fn refuse(report: &mut Report<'_>, item: Item<'_>, error: &SudoError) {
    let hint = match error {
        SudoError::Path { path } if path == "ALL" => {
            "write shell = true instead of run: it says everything out loud"
        }
        SudoError::Path { path } if path.starts_with('!') => NEGATION,
        SudoError::Path { .. } => "write the whole path of the program: \"/usr/bin/systemctl\"",
        SudoError::Letter { letter: '!', .. } => NEGATION,
        SudoError::Letter { letter: ' ', .. } => {
            "write each argument as a text of its own: [\"/bin/a\", \"b\", \"c\"]"
        }
        SudoError::Letter { .. } => {
            "write the exact argument; alternatives go into an inner list: [\"a\", \"b\"]"
        }
        SudoError::Empty | SudoError::TooManyArgs { .. } => RUN,
        SudoError::Length { .. } => "leave the argument out, or write a shorter one",
        SudoError::Sudoedit { .. } => "write the files in edit = [\"/etc/app.conf\"] instead",
        SudoError::TooManyCommands { .. } => {
            "make two roles of it, or put the work into a script that root owns"
        }
        SudoError::Nothing => "write run = [[…]], edit = […] or shell = true",
        SudoError::ShellAndList => "write shell = true alone, or leave it out and keep the lists",
    };
    report.error(item.place, error.to_string(), hint);
}

/// Threat A05.
const NEGATION: &str = "list what is allowed: a copy of the program under another name passes every negation";
