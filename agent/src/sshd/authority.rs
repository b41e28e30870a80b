//! The keys whose certificates sshd believes, and whether it takes what keys of their type sign.
//!
//! In: our file of keys, sshd's files. Out: the keys, or what is in the way. Spec: sshd_config(5) TrustedUserCAKeys, CASignatureAlgorithms.

use std::iter;
use std::path::Path;

use ssh_key::{Algorithm, PublicKey};

use super::{FILE_MAX, SshdError, keyword, others, patterns};
use crate::paths::Paths;
use crate::safe;

/// Which signatures sshd takes below certificates. A site may leave out ECDSA for its curve, or Ed25519 where approved algorithms count.
const ALGORITHMS: &str = "casignaturealgorithms";

/// The keys in the file that sshd is given, oldest first.
#[must_use]
pub(crate) fn cas(paths: &Paths) -> Vec<PublicKey> {
    let text = safe::read(&paths.user_ca, FILE_MAX).unwrap_or_default();
    text.lines().filter_map(|line| PublicKey::from_openssh(line.trim()).ok()).collect()
}

/// Whether there is a key, and sshd takes what the newest signs.
///
/// # Errors
/// [`SshdError::NoCa`], [`SshdError::Algorithm`].
pub(super) fn usable(paths: &Paths) -> Result<(), SshdError> {
    let algorithm = cas(paths).last().ok_or(SshdError::NoCa)?.algorithm();
    taken(paths, &algorithm)
}

/// Whether sshd takes certificates that a key of this type has signed. Each line counts, whichever sshd goes by: nobody types a code for
/// a login that may be refused.
///
/// # Errors
/// [`SshdError::Algorithm`].
pub(crate) fn taken(paths: &Paths, algorithm: &Algorithm) -> Result<(), SshdError> {
    let main = safe::read(&paths.sshd_main, FILE_MAX).unwrap_or_default();
    let files = iter::once((paths.sshd_main.clone(), main)).chain(others(paths));
    for (path, text) in files {
        takes((&path, &text), algorithm)?;
    }
    Ok(())
}

fn takes((path, text): (&Path, &str), algorithm: &Algorithm) -> Result<(), SshdError> {
    let name = algorithm.as_str();
    let is_out =
        |line| keyword(line).is_some_and(|(word, rest)| word == ALGORITHMS && leaves_out(rest, name));
    let Some(index) = text.lines().position(is_out) else { return Ok(()) };
    let place = format!("{}:{}", path.display(), index.saturating_add(1));
    let other = if *algorithm == Algorithm::Ed25519 { "ecdsa" } else { "ed25519" };
    Err(SshdError::Algorithm { place, name: name.to_owned(), other })
}

/// Whether a list, or what is added to the default or taken out of it, leaves out a name that the default has.
fn leaves_out(rest: &str, name: &str) -> bool {
    let list = patterns(rest).next().unwrap_or_default();
    let has = |list: &str| list.split(',').any(|one| stands_for(one.as_bytes(), name.as_bytes()));
    match list.strip_prefix('-') {
        Some(out) => has(out),
        None => !list.starts_with(['+', '^']) && !has(list),
    }
}

/// With `*` and `?` as ssh_config(5) has them in patterns.
fn stands_for(pattern: &[u8], name: &[u8]) -> bool {
    let Some((one, after)) = pattern.split_first() else { return name.is_empty() };
    if *one == b'*' {
        // Many in a row are one: no deeper than the name is long.
        let stars = pattern.iter().take_while(|one| **one == b'*').count();
        let after = pattern.get(stars..).unwrap_or_default();
        return (0..=name.len()).any(|at| name.get(at..).is_some_and(|rest| stands_for(after, rest)));
    }
    let is_it = |(other, rest): (&u8, &[u8])| (*one == b'?' || one == other) && stands_for(after, rest);
    name.split_first().is_some_and(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::EcdsaCurve;

    #[test]
    fn a_list_that_leaves_out_what_signs_is_named_with_its_place() {
        let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        let (path, strict) = (Path::new("/etc/ssh/x.conf"), "CASignatureAlgorithms ssh-ed25519,rsa-sha2-512");
        let out = takes((path, &format!("# x\n{strict}\n")), &p256).unwrap_err();
        let (place, name) = ("/etc/ssh/x.conf:2".to_owned(), "ecdsa-sha2-nistp256".to_owned());
        assert_eq!(out, SshdError::Algorithm { place, name, other: "ed25519" });
        assert_eq!(takes((path, strict), &Algorithm::Ed25519), Ok(()));
        for (line, taken) in [
            ("", true),
            ("CASignatureAlgorithms=ecdsa-sha2-nistp256", true),
            ("casignaturealgorithms \"ssh-ed25519,ecdsa-sha2-*\"", true),
            ("CASignatureAlgorithms +ssh-rsa", true),
            ("CASignatureAlgorithms ^rsa-sha2-512", true),
            ("CASignatureAlgorithms -ssh-ed25519", true),
            ("CASignatureAlgorithms -ecdsa*", false),
            ("CASignatureAlgorithms -rsa*,***256*", false),
            ("CASignatureAlgorithms -*?255", true),
            ("CASignatureAlgorithms -ecdsa-sha2-nistp25?", false),
            ("CASignatureAlgorithms ecdsa-sha2-nistp384", false),
            ("CASignatureAlgorithms ecdsa-sha2-nistp256x", false),
            ("Match User x\n  CASignatureAlgorithms rsa-*", false),
        ] {
            assert_eq!(takes((path, line), &p256).is_ok(), taken, "{line}");
        }
    }
}
