//! The certificate that somebody has logged in with, as sshd tells PAM modules of it, and the grant that it is of.
//!
//! In: the value of `SSH_AUTH_INFO_0` (sshd_config(5) ExposeAuthInfo), certificates in OpenSSH's form, keys of CAs. Out: nothing, or
//! the one grant. Whether the grant lives is asked elsewhere. Spec: PROTOCOL.certkeys, docs/wire.md "A login". Threats X-m, F12.

use ssh_key::certificate::{CertType, Certificate};
use ssh_key::encoding::{Reader as _, base64::Base64Reader};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::id::ActivationId;
use crate::ssh::{PRINCIPAL, of_principal};
use crate::time::Timestamp;

/// Longest text of sshd's of which certificates are read, in bytes. A certificate of ours has less than 8 KiB.
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
    /// It cannot be told: what may be a certificate of ours and cannot be read, or several of ours.
    Unclear,
}

/// By what somebody has logged in, from sshd's own words: a line for each method that succeeded, its key behind it.
///
/// sshd takes certificates that are not read here (options in any order, key ids of any bytes). They are [`Means::Other`] where no
/// principal of ours can be in them.
#[must_use]
pub fn means(info: &[u8]) -> Means {
    let mut found = Means::Other;
    for line in info.split(|byte| *byte == b'\n') {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (_method, kind, key) = (words.next(), words.next(), words.next());
        let Some(kind) = kind.filter(|kind| has(kind, CERTIFICATE)) else { continue };
        let key = key.unwrap_or_default();
        let read = if info.len() > AUTH_INFO_MAX { None } else { read(kind, key) };
        match (read, &found) {
            (Some((_, false)), _) => {}
            (None, _) if !may_be_ours(key) => {}
            (Some((line, true)), Means::Other) => found = Means::Ours(line),
            (Some((_, true)), Means::Ours(_) | Means::Unclear) | (None, _) => return Means::Unclear,
        }
    }
    found
}

/// A certificate in OpenSSH's form, and whether it names a principal of ours.
fn read(kind: &[u8], key: &[u8]) -> Option<(String, bool)> {
    let line = format!("{} {}", str::from_utf8(kind).ok()?, str::from_utf8(key).ok()?);
    let certificate = Certificate::from_openssh(&line).ok()?;
    Some((line, certificate.valid_principals().iter().any(|one| one.starts_with(PRINCIPAL))))
}

/// Whether this can be a certificate of ours, which has its principal in it as it is.
fn may_be_ours(key: &[u8]) -> bool {
    let Ok(mut reader) = Base64Reader::new(key) else { return true };
    let mut bytes = vec![0; reader.remaining_len()];
    reader.read(&mut bytes).map_or(true, |bytes| has(bytes, PRINCIPAL))
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
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
    use ssh_key::encoding::{Writer as _, base64::Base64Writer};
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
            assert_eq!(means(text.as_bytes()), Means::Other, "{text}");
        }
        let wanted = Means::Ours(own.clone());
        assert_eq!(means(format!("publickey {own}\n").as_bytes()), wanted);
        let several =
            format!("publickey {plain}\npublickey {theirs}\npublickey {own}\nkeyboard-interactive\n");
        assert_eq!(means(several.as_bytes()), wanted);
        for text in [
            format!("publickey {own}\npublickey {}\n", ours(2)),
            "publickey ssh-ed25519-cert-v01@openssh.com\n".to_owned(),
            "publickey ssh-ed25519-cert-v01@openssh.com A\n".to_owned(),
            "publickey ssh-ed25519-cert-v01@openssh.com ====\n".to_owned(),
            format!("publickey {}\n", &own[..own.len() - 1]),
            format!("publickey ssh-new-cert-v01@openssh.com {}\n", own.split(' ').nth(1).unwrap()),
        ] {
            assert_eq!(means(text.as_bytes()), Means::Unclear, "{text}");
        }
    }

    /// A certificate with two extensions, with what the reader does not take but sshd does in the place of what it takes.
    fn unread(key_id: &str, principal: &str, [old, new]: [&str; 2]) -> String {
        let subject = key(1).public_key().key_data().clone();
        let mut builder = Builder::new(vec![7; 16], subject, 1_800_000_000, 1_800_000_060).unwrap();
        builder.key_id(key_id).unwrap().valid_principal(principal).unwrap();
        for name in ["a@example.com", "b@example.com"] {
            builder.extension(name, "").unwrap();
        }
        // A number stands for a byte that is no text.
        let new: Vec<u8> = new.bytes().map(|byte| if byte == b'1' { 0xff } else { byte }).collect();
        let bytes = builder.sign(&key(3)).unwrap().to_bytes().unwrap();
        let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        let bytes: Vec<u8> =
            bytes.iter().take(at).chain(&new).chain(bytes.iter().skip(at).skip(old.len())).copied().collect();
        let mut text = vec![0; 4096];
        let mut writer = Base64Writer::new(&mut text).unwrap();
        writer.write(&bytes).unwrap();
        let line = format!("ssh-ed25519-cert-v01@openssh.com {}", writer.finish().unwrap());
        assert!(Certificate::from_openssh(&line).is_err());
        line
    }

    #[test]
    fn e04_a_certificate_that_is_not_read_is_somebody_elses_where_no_principal_of_ours_is_in_it() {
        let own = format!("elevate:{}", id(1));
        let order = ["a@example.com", "c@example.com"];
        let changes = [["robin", "r1bin"], order, ["a@example.com", "b@example.com"]];
        for change in changes {
            let theirs = format!("publickey {}\n", unread("robin", "bob", change));
            assert_eq!(means(theirs.as_bytes()), Means::Other, "{theirs}");
            let both = format!("{theirs}publickey {}\n", ours(1));
            assert_eq!(means(both.as_bytes()), Means::Ours(ours(1)), "beside one of ours");
            // Wherever in the groups of base64 it begins.
            for nth in ["robin", "robin robin", "robin robin r"] {
                let mine = format!("publickey {}\n", unread(nth, &own, order));
                assert_eq!(means(mine.as_bytes()), Means::Unclear, "{mine}");
            }
            let mine = format!("publickey {}\n", unread("robin", &own, change));
            assert_eq!(means(mine.as_bytes()), Means::Unclear, "{mine}");
        }
    }

    #[test]
    fn e04_words_that_are_long_or_no_text_hide_no_certificate_of_ours() {
        let (own, theirs) = (ours(1), certificate(3, CertType::User, "bob", &["bob"]));
        let long = "x".repeat(AUTH_INFO_MAX);
        for (certificate, wanted) in [(&own, Means::Unclear), (&theirs, Means::Other)] {
            for text in
                [format!("publickey {certificate}\n{long}"), format!("{long}\npublickey {certificate}\n")]
            {
                assert_eq!(means(text.as_bytes()), wanted, "{certificate}");
            }
        }
        let no_text = |after: &str| [b"hostbased \xff \xfe\n", after.as_bytes()].concat();
        assert_eq!(means(&no_text("")), Means::Other);
        assert_eq!(means(&no_text(&format!("publickey {theirs}"))), Means::Other);
        assert_eq!(means(&no_text(&format!("publickey {own}"))), Means::Ours(own));
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
