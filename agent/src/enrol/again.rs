//! `elevate-agent enroll` on a host that is enrolled: its lines are put back where a package has replaced a file.
//!
//! In: agent.toml; a paste string, where one is given. Out: the same enrolment, or a refusal when the string is for another one: a
//! new enrolment begins with `unenroll`. Runs as: root, by hand. Spec: docs/config.md "elevate-agent", decision 0012.

use std::path::Path;

use elevate_protocol::digest::Digest;
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;

use crate::config::Config;
use crate::flavour::Sudo;
use crate::journal;
use crate::paths::Paths;
use crate::probe;

use super::canary::Canaries;
use super::changes::Changes;
use super::flow::{EnrolError, gate, holding_signals, include};
use super::{checks, input, say, ssh};

/// What agent.toml keeps of the paste string: enough to know it again, nothing to enrol with.
#[must_use]
pub(super) fn mark(paste: &Paste) -> Digest {
    Digest::of(paste.token.as_ref().map_or("", Secret::expose).as_bytes())
}

/// Does nothing where everything stands, and puts our lines back where they do not.
///
/// # Errors
/// [`EnrolError::Another`] for a paste string that this host was not enrolled with; others as the first time.
pub(super) fn enroll(paths: &Paths, config: &Config, file: Option<&Path>) -> Result<(), EnrolError> {
    if let Some(paste) = input::paste_where_given(file)?
        && !is_of(config, &paste)
    {
        return Err(EnrolError::Another { name: config.name.clone(), daemon: config.daemon.clone() });
    }
    let sudo = Sudo::ask();
    let name = &config.name;
    let changed = holding_signals(|| ssh::set_up(paths));
    if probe::enforcement(paths, &sudo).is_ok() {
        let what = if changed { "Nothing else was changed." } else { "Nothing was changed." };
        say(&format!("already enrolled: this host is {name}, its daemon is {}. {what}", config.daemon));
        return Ok(());
    }
    repair(paths, &sudo)?;
    say(&format!(
        "already enrolled as {name}; the lines for sudo were missing or changed, and are in place again."
    ));
    Ok(())
}

/// Whether this enrolment was made with this paste string. The token says which: it was made once, for one host.
fn is_of(config: &Config, paste: &Paste) -> bool {
    paste.address == config.daemon
        && paste.fingerprint == config.fingerprint
        && config.paste.as_ref() == Some(&mark(paste))
}

fn repair(paths: &Paths, sudo: &Sudo) -> Result<(), EnrolError> {
    let site = checks::site(paths)?;
    let mut changes = Changes::default();
    let mut put = || -> Result<(), EnrolError> {
        let canaries = Canaries::before(paths, &site, &mut changes)?;
        include(paths, &site, &mut changes)?;
        gate(paths, &mut changes)?;
        canaries.unmanaged_after(&mut changes)?;
        Ok(probe::enforcement(paths, sudo)?)
    };
    match put() {
        Ok(()) => {
            changes.keep();
            Ok(())
        }
        Err(error) => {
            for error in changes.undo().err().unwrap_or_default() {
                say(&format!("NOT put back: {}", journal::chain(&error)));
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::paste::PasteKind;

    fn paste(token: &str, address: &str) -> Paste {
        Paste {
            kind: PasteKind::Host,
            address: address.into(),
            fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
            token: Some(Secret::new(token.into())),
        }
    }

    #[test]
    fn only_the_very_paste_string_is_of_this_enrolment() {
        let own = paste("01AB0000000000000000000000", "daemon.example:7022");
        let text = format!(
            "daemon = \"daemon.example:7022\"\nfingerprint = \"{}\"\nhost = \"00000000000000000000000001\"\nname = \"web1\"\n\
             cluster = \"00000000000000000000000002\"\n",
            own.fingerprint
        );
        let mut config: Config = toml::from_str(&text).unwrap();
        assert!(!is_of(&config, &own), "an enrolment that kept no mark is not known again");
        config.paste = Some(mark(&own));
        assert!(is_of(&config, &own));
        assert!(!is_of(&config, &paste("01AB0000000000000000000001", "daemon.example:7022")));
        assert!(!is_of(&config, &paste("01AB0000000000000000000000", "other.example:7022")));
        let mut key = own.clone();
        key.fingerprint = "SHA256:AAAAQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into();
        assert!(!is_of(&config, &key));
        assert!(!mark(&own).to_string().contains("01AB0000"));
    }
}
