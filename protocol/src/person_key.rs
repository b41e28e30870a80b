//! A person's SSH public key: what the policy names people by, and what certificates are issued for.
//!
//! In: the line of a `.pub` file. Out: a plain key that is strong enough, or why not (threats E02, E17). Certificates are no keys:
//! who signed one would decide who the person is. Spec: docs/policy.md "`[people]`".

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// Longest line in bytes.
pub const KEY_MAX: usize = 4096;
/// Fewest bits of an RSA key.
pub const RSA_MIN: usize = 3072;

/// Why a line is no key for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonKeyError {
    /// Too long, or more than a line.
    #[error("a key is one line of at most {KEY_MAX} bytes")]
    Line,
    /// A certificate.
    #[error("this is a certificate; who signed it would decide who the person is")]
    Certificate,
    /// Not a key at all, or options before it.
    #[error("this is no plain public key: {why}")]
    Form {
        /// What does not fit.
        why: String,
    },
    /// RSA with too few bits.
    #[error("this RSA key has {bits} bits, at least {RSA_MIN} are needed")]
    Rsa {
        /// How many it has.
        bits: usize,
    },
    /// DSA.
    #[error("DSA keys have 1024 bits, which is too weak")]
    Dsa,
    /// Something newer, or a mixture.
    #[error("keys of this kind are not supported")]
    Kind,
}

/// Reads the line of a `.pub` file: no certificate, no options, strong enough.
///
/// # Errors
/// A [`PersonKeyError`].
pub fn parse(line: &str) -> Result<PublicKey, PersonKeyError> {
    if line.len() > KEY_MAX || line.chars().any(char::is_control) {
        return Err(PersonKeyError::Line);
    }
    if line.split(' ').any(|word| word.contains("-cert-v0")) {
        return Err(PersonKeyError::Certificate);
    }
    let key = PublicKey::from_openssh(line)
        .map_err(|error| PersonKeyError::Form { why: error.to_string().to_lowercase() })?;
    check(key.key_data())?;
    Ok(key)
}

/// Looks whether a key is good enough. FIDO keys are Ed25519 or P-256 and good.
///
/// # Errors
/// [`PersonKeyError::Rsa`], [`PersonKeyError::Dsa`], [`PersonKeyError::Kind`].
pub fn check(key: &KeyData) -> Result<(), PersonKeyError> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(())
        }
        KeyData::Rsa(rsa) => {
            let bytes = rsa.n().as_positive_bytes().unwrap_or(&[]);
            let zeros = bytes.first().map_or(0, |byte| byte.leading_zeros());
            let bits = bytes.len().saturating_mul(8).saturating_sub(usize::try_from(zeros).unwrap_or(0));
            if bits < RSA_MIN { Err(PersonKeyError::Rsa { bits }) } else { Ok(()) }
        }
        KeyData::Dsa(_) => Err(PersonKeyError::Dsa),
        // KeyData is not ours and grows: what is not known above is refused.
        KeyData::Certificate(_) | KeyData::Other(_) | _ => Err(PersonKeyError::Kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC alice@laptop";

    #[test]
    fn a_key_is_one_plain_line() {
        assert_eq!(parse(PLAIN).unwrap().comment().as_bytes(), b"alice@laptop");
        for (line, why) in [
            (format!("{PLAIN}\n"), PersonKeyError::Line),
            (format!("{PLAIN}\u{7f}"), PersonKeyError::Line),
            (format!("{PLAIN}{}", "x".repeat(KEY_MAX)), PersonKeyError::Line),
            (PLAIN.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"), PersonKeyError::Certificate),
        ] {
            assert_eq!(parse(&line), Err(why), "{line:?}");
        }
        for line in ["", "ssh-ed25519", &format!("no-pty {PLAIN}"), "ssh-ed25519 AAAA alice"] {
            assert!(matches!(parse(line), Err(PersonKeyError::Form { .. })), "{line:?}");
        }
    }

    /// An RSA key of so many bits: one exponent and a number with its first bit set.
    fn rsa(bits: usize) -> String {
        let n: Vec<u8> = std::iter::once(0).chain(std::iter::repeat_n(0x81, bits / 8)).collect();
        let mpint = |bytes: &[u8]| ssh_key::Mpint::try_from(bytes).unwrap();
        let key = ssh_key::public::RsaPublicKey::new(mpint(&[1, 0, 1]), mpint(&n)).unwrap();
        PublicKey::new(KeyData::Rsa(key), "").to_openssh().unwrap()
    }

    #[test]
    fn e17_an_rsa_key_has_3072_bits_or_more() {
        assert!(parse(&rsa(3072)).is_ok());
        assert_eq!(parse(&rsa(3064)), Err(PersonKeyError::Rsa { bits: 3064 }));
        assert_eq!(parse(&rsa(1024)), Err(PersonKeyError::Rsa { bits: 1024 }));
    }
}
