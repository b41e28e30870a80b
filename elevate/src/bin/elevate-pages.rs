//! `elevate-pages DIR`: writes the manual pages and completions below DIR, a `share` folder. `make install` runs it; it is not installed.
//! In: the parsers of both programs. Out: files. Runs as: whoever installs.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use std::os::unix::fs::PermissionsExt;

fn write(share: &Path) -> io::Result<()> {
    for (path, text) in elevate_cli::pages::all()? {
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
