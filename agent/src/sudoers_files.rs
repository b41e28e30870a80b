//! What stands in sudoers(5) files that would switch the gate off, wherever sudo reads it from.
//!
//! In: /etc/sudoers, /etc/sudoers-rs and every file that they name. Out: options with file and line. A scan of text: sudo itself has no list of the
//! `Defaults` that hold for one person only. Runs as: root.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most files looked into; sudo itself stops at 128 levels.
const FILES_MAX: usize = 512;
/// Longest file in bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// Options that make sudo pass by our lines.
const SWITCHES: [&str; 5] =
    ["!pam_acct_mgmt", SESSION, "pam_service", "pam_login_service", "pam_askpass_service"];
/// The one of them that only keeps uses from being reported.
const SESSION: &str = "!pam_session";

/// One option that switches PAM off or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switch {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line number from 1.
    pub(crate) line: usize,
    /// The option.
    pub(crate) option: &'static str,
}

impl Switch {
    /// Whether rules would pass by the gate, for somebody at least.
    #[must_use]
    pub(crate) fn passes_by_the_gate(&self) -> bool {
        self.option != SESSION
    }
}

/// A file that sudo may read and that nobody looked into: it may say anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sudo may read {file}, which cannot be looked into: {why}")]
pub(crate) struct Unseen {
    file: String,
    why: String,
}

/// Looks for options that switch PAM off or send it elsewhere, below the folder that stands for `/`.
///
/// # Errors
/// [`Unseen`] for the first file that cannot be looked into.
pub(crate) fn switches(root: &Path) -> Result<Vec<Switch>, Unseen> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let host = host.split('.').next().unwrap_or_default().to_owned();
    // sudo-rs reads its own file where there is one.
    let mut waiting = vec![PathBuf::from("/etc/sudoers"), PathBuf::from("/etc/sudoers-rs")];
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(file) = waiting.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let unseen = |why: String| Unseen { file: file.display().to_string(), why };
        if seen.len() > FILES_MAX {
            return Err(unseen(format!("sudoers names more than {FILES_MAX} files")));
        }
        let Some(text) = read(root, &file).map_err(|error| unseen(error.to_string()))? else { continue };
        let lines = in_text(&text).into_iter();
        found.extend(lines.map(|(line, option)| Switch { file: file.clone(), line, option }));
        for named in text.lines().filter_map(|line| named(line, &file, &host)) {
            match named {
                Named::File(path) => waiting.push(path),
                Named::Folder(path) => waiting.extend(inside(root, &path)),
            }
        }
    }
    found.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    Ok(found)
}

/// What a line includes.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    File(PathBuf),
    Folder(PathBuf),
}

/// `@include`, `@includedir` and their old forms with `#` (sudoers(5) "Including other files from within sudoers").
fn named(line: &str, file: &Path, host: &str) -> Option<Named> {
    let rest = line.trim().strip_prefix(['@', '#'])?.strip_prefix("include")?;
    let (rest, folder) = rest.strip_prefix("dir").map_or((rest, false), |rest| (rest, true));
    let path = rest.strip_prefix([' ', '\t'])?.trim();
    let path = path.strip_prefix('"').and_then(|path| path.strip_suffix('"')).unwrap_or(path);
    let path = path.replace("\\ ", " ").replace("%h", host);
    // A relative name is beside the file that names it.
    let path = file.parent().unwrap_or(Path::new("/")).join(path);
    Some(if folder { Named::Folder(path) } else { Named::File(path) })
}

/// The files of a folder that sudo reads: none with a dot in its name or a tilde at its end, and only plain ones.
fn inside(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below(root, folder)) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let read = names.filter(|name| !name.contains('.') && !name.ends_with('~'));
    let files = read.map(|name| folder.join(name));
    // One more than may be: then there are too many.
    files.filter(|file| below(root, file).is_file()).take(FILES_MAX.saturating_add(1)).collect()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Followed like sudo does; root's files, and only plain ones are opened. None: there is no such file.
fn read(root: &Path, path: &Path) -> io::Result<Option<String>> {
    let path = below(root, path);
    let meta = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(io::Error::other(format!("it is no plain file of at most {FILE_MAX} bytes")));
    }
    fs::read(&path).map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn in_text(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut goes_on = false;
    // How many `!` stand before the next word: sudoers(5) takes several, and space behind them.
    let mut negations = 0usize;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim_start();
        let rest = if goes_on { Some(line) } else { line.strip_prefix("Defaults") };
        if !goes_on {
            negations = 0;
        }
        goes_on = rest.is_some() && line.ends_with('\\');
        let Some(rest) = rest else { continue };
        let spaced = rest.replace('!', " ! ");
        for word in spaced.split([',', ' ', '\t', '=', '\\']).filter(|word| !word.is_empty()) {
            if word == "!" {
                negations = negations.saturating_add(1);
                continue;
            }
            let option = SWITCHES.iter().find(|option| match option.strip_prefix('!') {
                Some(name) => name == word && negations % 2 == 1,
                None => **option == word,
            });
            found.extend(option.map(|option| (index.saturating_add(1), *option)));
            negations = 0;
        }
    }
    found
}

/// `#` begins a comment, except before a digit, where it is a uid (sudoers(5) "User specification").
fn without_comment(line: &str) -> &str {
    let is_uid = |at: usize| line.as_bytes().get(at.saturating_add(1)).is_some_and(u8::is_ascii_digit);
    let comment = line.match_indices('#').map(|(at, _)| at).find(|at| !is_uid(*at));
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_pass_by_the_gate_are_found_wherever_they_stand() {
        let text = "Defaults env_reset\nDefaults:alice use_pty, !pam_acct_mgmt\n# Defaults !pam_acct_mgmt\n\
                    Defaults!/usr/bin/id use_pty, \\\n  pam_service=other\nalice ALL=(ALL) ALL\nDefaults pam_acct_mgmt\n";
        assert_eq!(in_text(text), [(2, "!pam_acct_mgmt"), (5, "pam_service")]);
        // All of these parse: space behind the negation, three of them, a uid, a line that goes on.
        let text = "Defaults ! pam_acct_mgmt\nDefaults !!!pam_session\nDefaults:#2000 !pam_acct_mgmt # why\n\
                    Defaults use_pty, ! \\\n pam_session\nDefaults !!pam_session\nDefaults use_pty # !pam_session\n";
        let acct = "!pam_acct_mgmt";
        assert_eq!(in_text(text), [(1, acct), (2, "!pam_session"), (3, acct), (5, "!pam_session")]);
    }

    #[test]
    fn the_sudoers_of_this_machine_switch_nothing_off() {
        assert_eq!(switches(Path::new("/")), Ok(vec![]));
    }

    #[test]
    fn every_form_of_including_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let off = "Defaults:alice !pam_acct_mgmt\n";
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "etc/sudoers",
            "@include /etc/one\n#include two\n@includedir /etc/sudoers.d\n# include /etc/never\n",
        );
        put("etc/one", &format!("@include \"/opt/with space\"\n@include /etc/sudoers\n{off}"));
        put("etc/two", &format!("#includedir /opt/more\n{off}"));
        put("etc/never", off);
        put("opt/with space", off);
        put("opt/more/three", off);
        put("opt/more/three.bak", off);
        put("opt/more/three~", off);
        put("etc/sudoers.d/four", &format!("root ALL=(ALL) ALL\n{off}"));
        let found = switches(root.path()).unwrap();
        let places: Vec<(String, usize)> =
            found.iter().map(|one| (one.file.display().to_string(), one.line)).collect();
        let wanted = [
            ("/etc/one", 3),
            ("/etc/sudoers.d/four", 2),
            ("/etc/two", 2),
            ("/opt/more/three", 1),
            ("/opt/with space", 1),
        ];
        assert_eq!(places, wanted.map(|(file, line)| (file.to_owned(), line)));
        assert!(found.iter().all(Switch::passes_by_the_gate));
    }

    #[test]
    fn what_cannot_be_looked_into_may_say_anything() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir_all(etc.join("sudoers.d/folder")).unwrap();
        let include = "@includedir /etc/sudoers.d\n@include /etc/missing\n@include /etc/more\n";
        std::fs::write(etc.join("sudoers"), include).unwrap();
        assert_eq!(
            switches(root.path()),
            Ok(vec![]),
            "sudo reads neither folders in a folder nor what is not there"
        );
        std::fs::create_dir(etc.join("more")).unwrap();
        let error = switches(root.path()).unwrap_err();
        assert!(
            error.to_string().starts_with("sudo may read /etc/more, which cannot be looked into"),
            "{error}"
        );
        std::fs::remove_dir(etc.join("more")).unwrap();
        std::fs::File::create(etc.join("more")).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(switches(root.path()).is_err(), "too long");
        std::fs::remove_file(etc.join("more")).unwrap();
        for number in 0..FILES_MAX {
            std::fs::write(etc.join(format!("sudoers.d/{number}")), "").unwrap();
        }
        assert!(switches(root.path()).is_err(), "too many");
    }

    #[test]
    fn the_host_is_put_into_names_of_files() {
        let file = Path::new("/etc/sudoers");
        assert_eq!(
            named("@include /etc/sudoers.%h", file, "web1"),
            Some(Named::File("/etc/sudoers.web1".into()))
        );
        assert_eq!(named("@includedirectory /x", file, "web1"), None);
        assert_eq!(named("#2000 ALL=(ALL) ALL", file, "web1"), None);
    }
}
