//! The certificate that somebody has logged in with, as sshd tells PAM modules of it, and the grant that it is of.
//!
//! In: the value of `SSH_AUTH_INFO_0` (sshd_config(5) ExposeAuthInfo), certificates in OpenSSH's form, keys of CAs. Out: nothing, or
//! the one grant. Whether the grant lives is asked elsewhere. Spec: PROTOCOL.certkeys, docs/wire.md "A login". Threats X-m, F12.

use ssh_key::certificate::{CertType, Certificate};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::id::ActivationId;
use crate::ssh::{PRINCIPAL, of_principal};
use crate::time::Timestamp;

/// Longest text of sshd's that is looked into, in bytes. A certificate of ours has less than 8 KiB.
pub const AUTH_INFO_MAX: usize = 64 * 1024;
/// What the names of all kinds of certificates have in them, and none of a plain key.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// By what somebody has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// By a password, a plain key, somebody else's certificate: no grant of ours has opened this.
    Other,
    /// By this certificate, which names a principal of ours, in OpenSSH's form.
    Ours(String),
    /// It cannot be told: a certificate that is none to us, several of ours, or more than is looked into.
    Unclear,
}

/// By what somebody has logged in, from sshd's own words: a line for each method that succeeded.
#[must_use]
pub fn means(info: &str) -> Means {
    if info.len() > AUTH_INFO_MAX {
        return Means::Unclear;
    }
    let mut found = Means::Other;
    for line in info.lines() {
        let mut words = line.split_ascii_whitespace();
        let (_method, kind, key) = (words.next(), words.next(), words.next());
        let Some(kind) = kind.filter(|kind| kind.contains(CERTIFICATE)) else { continue };
        let line = format!("{kind} {}", key.unwrap_or_default());
        let ours = match Certificate::from_openssh(&line) {
            Ok(read) => read.valid_principals().iter().any(|one| one.starts_with(PRINCIPAL)),
            Err(_) => return Means::Unclear,
        };
        match (ours, &found) {
            (false, _) => {}
            (true, Means::Other) => found = Means::Ours(line),
            (true, Means::Ours(_) | Means::Unclear) => return Means::Unclear,
        }
    }
    found
}

/// What a certificate of ours proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The grant that it was signed for.
    pub grant: ActivationId,
    /// Its serial.
    pub serial: u64,
    /// SHA-256 of the certified key, as ssh-keygen(1) shows it.
    pub fingerprint: String,
}

/// Why a certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not one.
    #[error("it cannot be read")]
    Form,
    /// For hosts.
    #[error("it is none for people")]
    Kind,
    /// Another CA, not by the CA that it names, or not valid now.
    #[error("none of the keys that sign certificates of people here has signed it for this moment")]
    Signature,
    /// Not what ours say.
    #[error("its principal and its key id are not those of one grant")]
    Grant,
}

/// What a certificate proves at `now`, when one of `cas` has signed it.
///
/// # Errors
/// [`ProofError`].
pub fn prove(line: &str, cas: &[PublicKey], now: Timestamp) -> Result<Proof, ProofError> {
    let certificate = Certificate::from_openssh(line).map_err(|_| ProofError::Form)?;
    if certificate.cert_type() != CertType::User {
        return Err(ProofError::Kind);
    }
    let cas: Vec<Fingerprint> = cas.iter().map(|ca| ca.fingerprint(HashAlg::Sha256)).collect();
    let now = u64::try_from(now.0).map_err(|_| ProofError::Signature)?;
    certificate.validate_at(now, &cas).map_err(|_| ProofError::Signature)?;
    let [principal] = certificate.valid_principals() else { return Err(ProofError::Grant) };
    let grant = of_principal(principal).ok_or(ProofError::Grant)?;
    if certificate.key_id().parse() != Ok(grant) {
        return Err(ProofError::Grant);
    }
    let fingerprint = certificate.public_key().fingerprint(HashAlg::Sha256).to_string();
    Ok(Proof { grant, serial: certificate.serial(), fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::certificate::Builder;
    use ssh_key::private::{Ed25519Keypair, PrivateKey};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn id(number: u8) -> ActivationId {
        ActivationId::from_random([number; 16])
    }

    /// A certificate of the CA of this seed, valid for a minute.
    fn certificate(ca: u8, kind: CertType, key_id: &str, principals: &[&str]) -> String {
        let (from, until) = (1_800_000_000, 1_800_000_060);
        let mut builder =
            Builder::new(vec![7; 16], key(1).public_key().key_data().clone(), from, until).unwrap();
        builder.serial(9).unwrap().cert_type(kind).unwrap().key_id(key_id).unwrap();
        for principal in principals {
            builder.valid_principal(*principal).unwrap();
        }
        if principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        builder.sign(&key(ca)).unwrap().to_openssh().unwrap()
    }

    fn ours(number: u8) -> String {
        certificate(2, CertType::User, &id(number).to_string(), &[&format!("elevate:{}", id(number))])
    }

    #[test]
    fn e05_only_a_certificate_with_a_principal_of_ours_is_a_login_under_a_grant() {
        let (plain, own) = (key(1).public_key().to_openssh().unwrap(), ours(1));
        let theirs = certificate(3, CertType::User, "bob", &["bob", "elevator"]);
        for text in [
            String::new(),
            "password\n".to_owned(),
            "keyboard-interactive\n".to_owned(),
            format!("publickey {plain}\n"),
            format!("publickey {theirs}\npublickey {plain}\n"),
        ] {
            assert_eq!(means(&text), Means::Other, "{text}");
        }
        let wanted = Means::Ours(own.clone());
        assert_eq!(means(&format!("publickey {own}\n")), wanted);
        assert_eq!(means(&format!("publickey {plain}\npublickey {own}\nkeyboard-interactive\n")), wanted);
        for text in [
            format!("publickey {own}\npublickey {}\n", ours(2)),
            "publickey ssh-ed25519-cert-v01@openssh.com\n".to_owned(),
            "publickey ssh-ed25519-cert-v01@openssh.com AAAA\n".to_owned(),
            format!("publickey ssh-new-cert-v01@openssh.com {}\n", own.split(' ').nth(1).unwrap()),
            "x".repeat(AUTH_INFO_MAX + 1),
        ] {
            assert_eq!(means(&text), Means::Unclear, "{text}");
        }
    }

    #[test]
    fn e02_a_proof_is_of_one_grant_by_a_ca_that_is_known_and_for_now() {
        let cas = [key(4).public_key().clone(), key(2).public_key().clone()];
        let proof = prove(&ours(1), &cas, NOW).unwrap();
        assert_eq!((proof.grant, proof.serial), (id(1), 9));
        assert_eq!(proof.fingerprint, key(1).public_key().fingerprint(HashAlg::Sha256).to_string());
        assert_eq!(prove(&ours(1), &cas[..1], NOW), Err(ProofError::Signature), "a CA that is not known");
        for now in [Timestamp(NOW.0 - 1), Timestamp(NOW.0 + 60), Timestamp(-1)] {
            assert_eq!(prove(&ours(1), &cas, now), Err(ProofError::Signature), "{now:?}");
        }
        let (one, own) = (id(1).to_string(), format!("elevate:{}", id(1)));
        let host = certificate(2, CertType::Host, &one, &[&own]);
        assert_eq!(prove(&host, &cas, NOW), Err(ProofError::Kind));
        for (key_id, principals) in [
            (one.as_str(), &[own.as_str(), "root"][..]),
            (&one, &["*"]),
            (&one, &[]),
            (&id(2).to_string(), &[&own]),
            ("", &[&own]),
        ] {
            let other = certificate(2, CertType::User, key_id, principals);
            assert_eq!(prove(&other, &cas, NOW), Err(ProofError::Grant), "{key_id} {principals:?}");
        }
        let plain = key(1).public_key().to_openssh().unwrap();
        assert_eq!(prove(&plain, &cas, NOW), Err(ProofError::Form));
    }
}
