//! `elevate-pages DIR`: writes the manual pages and completions below DIR, a `share` folder. `make install` runs it; it is not installed.
//! In: the parsers of all programs; those of the services are read as they stand, since root's code links nothing for this. Out: files. Runs as: whoever installs.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use std::os::unix::fs::PermissionsExt;

use clap::CommandFactory;
use elevate_cli::pages::{all, files};

#[path = "../../../agent/src/args.rs"]
#[allow(dead_code, reason = "only what clap reads of it is used here")]
mod agent;
#[path = "../../../daemon/src/cli.rs"]
#[allow(dead_code, reason = "only what clap reads of it is used here")]
mod daemon;
#[path = "../../../agent/link/src/args.rs"]
#[allow(dead_code, reason = "only what clap reads of it is used here")]
mod link;

/// Every page and completion of every program.
fn everything() -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut everything = all()?;
    for service in [agent::Arguments::command(), daemon::Cli::command(), link::Cli::command()] {
        everything.extend(files(&service, "8")?);
    }
    Ok(everything)
}

fn write(share: &Path) -> io::Result<()> {
    for (path, text) in everything()? {
        let path = share.join(path);
        fs::create_dir_all(path.parent().unwrap_or(share))?;
        // By rename: a reader of the page before finds the whole of one or the other.
        let mut fresh = OsString::from(".");
        fresh.push(path.file_name().unwrap_or_default());
        let fresh = path.with_file_name(fresh);
        fs::write(&fresh, text)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
        fs::rename(&fresh, &path)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(share) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: elevate-pages DIR");
        return ExitCode::from(2);
    };
    match write(&share) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write below {}: {error}", share.display());
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_have_pages_that_say_what_their_parsers_take() {
        let everything = everything().unwrap();
        let page = |name: &str| {
            let path = Path::new("man/man8").join(name);
            let (_, text) =
                everything.iter().find(|(found, _)| *found == path).unwrap_or_else(|| panic!("{name}"));
            String::from_utf8(text.clone()).unwrap().replace('\\', "")
        };
        for (name, says) in [
            ("elevated.8", "--check-config"),
            ("elevated-init.8", "--admin-socket"),
            ("elevate-agent.8", "confirm-epoch"),
            ("elevate-agent-enroll.8", "--no-services"),
            ("elevate-agent-status.8", "--format"),
            ("elevate-link.8", "--socket"),
        ] {
            assert!(page(name).contains(says), "{says} is not in {name}");
        }
        // What is the programs' own business is not offered to people.
        assert!(!page("elevate-agent.8").contains("pam-run") && !page("elevate-agent.8").contains("--root"));
        let mut paths: Vec<_> = everything.iter().map(|(path, _)| path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), everything.len(), "two files have one place");
    }
}
