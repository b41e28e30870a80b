//! Manual pages and completions of both programs, made from what clap parses: they cannot say anything else.
//!
//! In: the parsers. Out: pages of man(7), scripts of bash, zsh and fish. Runs as: whoever builds. Spec: docs/cli.md.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::generate;

use crate::args::Elevate;
use crate::args::admin::Elevatectl;

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash with bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// A program with pages and completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// For everybody, section 1.
    Elevate,
    /// For administrators, section 8.
    Elevatectl,
}

impl Program {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Elevate, Self::Elevatectl];

    fn command(self) -> Command {
        match self {
            Self::Elevate => Elevate::command(),
            Self::Elevatectl => Elevatectl::command(),
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Elevate => "1",
            Self::Elevatectl => "8",
        }
    }
}

impl Shell {
    /// Where distributions look for the completions of a program, below `share`.
    fn place(self, program: &str) -> PathBuf {
        match self {
            Self::Bash => Path::new("bash-completion/completions").join(program),
            Self::Zsh => Path::new("zsh/site-functions").join(format!("_{program}")),
            Self::Fish => Path::new("fish/vendor_completions.d").join(format!("{program}.fish")),
        }
    }
}

/// The script with which a shell completes a program's words.
#[must_use]
pub fn completion(program: Program, shell: Shell) -> Vec<u8> {
    script(program.command(), shell)
}

fn script(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(clap_complete::Shell::Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(clap_complete::Shell::Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(clap_complete::Shell::Fish, &mut command, name, &mut script),
    }
    script
}

/// The pages of a program, the program's own and one for each command: their file names and texts.
///
/// # Errors
/// When a page cannot be written into memory.
pub fn manual(program: Program) -> io::Result<Vec<(String, Vec<u8>)>> {
    pages(program.command(), program.section())
}

fn pages(command: Command, section: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    page(&command, section, &mut pages)?;
    Ok(pages)
}

fn page(command: &Command, section: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).section(section).render(&mut text)?;
    pages.push((format!("{name}.{section}"), text));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        page(inner, section, pages)?;
    }
    Ok(())
}

/// Every page and completion of one program: the path below `share`, the text.
///
/// # Errors
/// As [`manual`].
pub fn files(command: &Command, section: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new("man").join(format!("man{section}"));
    let pages = pages(command.clone(), section)?;
    let mut files: Vec<_> = pages.into_iter().map(|(name, text)| (folder.join(name), text)).collect();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        files.push((shell.place(command.get_name()), script(command.clone(), shell)));
    }
    Ok(files)
}

/// The same of both programs.
///
/// # Errors
/// As [`manual`].
pub fn all() -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for program in Program::ALL {
        all.extend(files(&program.command(), program.section())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag of a command that is shown in its help.
    fn flags(command: &Command) -> Vec<String> {
        command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .filter_map(|arg| arg.get_long())
            .map(str::to_owned)
            .collect()
    }

    fn every(command: &Command, seen: &mut Vec<(String, Vec<String>)>) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        seen.push((name, flags(command)));
        command.get_subcommands().filter(|inner| !inner.is_hide_set()).for_each(|inner| every(inner, seen));
    }

    #[test]
    fn every_flag_of_every_command_is_in_its_manual_page() {
        for program in Program::ALL {
            let mut command = program.command().disable_help_subcommand(true);
            command.build();
            let mut commands = Vec::new();
            every(&command, &mut commands);
            let pages = manual(program).unwrap();
            assert_eq!(pages.len(), commands.len());
            for ((file, text), (name, flags)) in pages.iter().zip(commands) {
                assert_eq!(*file, format!("{name}.{}", program.section()));
                let text = String::from_utf8(text.clone()).unwrap().replace('\\', "");
                assert!(text.starts_with(".ie") && text.contains(".SH NAME"), "{file}");
                for flag in flags {
                    assert!(text.contains(&format!("--{flag}")), "--{flag} is not in {file}");
                }
            }
        }
    }

    #[test]
    fn completions_know_every_command_that_is_shown() {
        for program in Program::ALL {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = String::from_utf8(completion(program, shell)).unwrap();
                for verb in program.command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
                    assert!(script.contains(verb.get_name()), "{program:?} {shell:?} {}", verb.get_name());
                }
            }
        }
    }

    #[test]
    fn each_file_has_a_place_of_its_own() {
        let mut paths: Vec<PathBuf> = all().unwrap().into_iter().map(|(path, _)| path).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
        for wanted in
            ["man/man1/elevate.1", "man/man1/elevate-approve.1", "man/man8/elevatectl-host-invite.8"]
        {
            assert!(paths.contains(&PathBuf::from(wanted)), "{wanted} is not in {paths:?}");
        }
    }
}
