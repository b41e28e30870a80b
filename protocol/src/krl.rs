//! A list of revoked certificates as sshd reads it (sshd_config(5) `RevokedKeys`): by key id, which in our certificates is the grant's id.
//!
//! In: grants that are over, bytes of such a list. Out: the bytes that stand for them, and back. What nobody of ours has written is
//! not read. Spec: PROTOCOL.krl, docs/grant-format.md "Revocation list". Threat X-l.

use std::collections::BTreeSet;

use crate::id::ActivationId;
use crate::time::Timestamp;

/// Most grants of a list: what sshd looks through at each login of everybody.
pub const REVOKED_MAX: usize = 1024;
/// Longest such list in bytes.
pub const KRL_MAX: u64 = 64 * 1024;
/// A key id that no certificate has. Every list revokes it, so that none is empty: sshd lets everybody pass by one that is.
pub const NOBODY: &str = "elevate:nobody";

const MAGIC: &[u8] = b"SSHKRL\n\0";
/// Of the form itself.
const FORM: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const BY_KEY_ID: u8 = 0x23;

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krl {
    /// Grows with every list that differs.
    pub version: u64,
    /// When it was made.
    pub made: Timestamp,
    /// Whose certificates open nothing any more.
    pub grants: BTreeSet<ActivationId>,
}

fn string(into: &mut Vec<u8>, bytes: &[u8]) {
    // Nothing here is longer than KRL_MAX.
    into.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend(bytes);
}

/// One string of at most what is left.
fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *from = rest;
    Some(taken)
}

impl Krl {
    /// Whether a certificate of this grant is on it.
    #[must_use]
    pub fn has(&self, grant: ActivationId) -> bool {
        self.grants.contains(&grant)
    }

    /// The bytes. The section names no CA: a grant that is over is so whichever of our keys has signed, also one that comes later.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut ids = Vec::new();
        string(&mut ids, NOBODY.as_bytes());
        for grant in &self.grants {
            string(&mut ids, grant.to_string().as_bytes());
        }
        let mut section = Vec::new();
        string(&mut section, b"");
        string(&mut section, b"");
        section.push(BY_KEY_ID);
        string(&mut section, &ids);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORM.to_be_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.made.0.max(0).to_be_bytes());
        // Flags, of which there are none yet.
        bytes.extend(0_u64.to_be_bytes());
        string(&mut bytes, b"");
        string(&mut bytes, b"");
        bytes.push(SECTION_CERTIFICATES);
        string(&mut bytes, &section);
        bytes
    }

    /// A list that [`Krl::to_bytes`] has written; none for every other one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&FORM.to_be_bytes())?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (made, rest) = rest.split_first_chunk::<8>()?;
        let (_flags, mut rest) = rest.split_first_chunk::<8>()?;
        take(&mut rest)?;
        take(&mut rest)?;
        rest = rest.strip_prefix(&[SECTION_CERTIFICATES])?;
        let mut section = take(&mut rest)?;
        take(&mut section)?;
        take(&mut section)?;
        section = section.strip_prefix(&[BY_KEY_ID])?;
        let mut ids = take(&mut section)?;
        take(&mut ids)?;
        let mut grants = BTreeSet::new();
        while !ids.is_empty() {
            grants.insert(std::str::from_utf8(take(&mut ids)?).ok()?.parse().ok()?);
        }
        let (version, made) = (u64::from_be_bytes(*version), Timestamp(i64::from_be_bytes(*made)));
        let found = Self { version, made, grants };
        // Nothing else stands in it, in no other order.
        (found.to_bytes() == bytes).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(version: u64, grants: &[u8]) -> Krl {
        let grants = grants.iter().map(|one| ActivationId::from_random([*one; 16])).collect();
        Krl { version, made: Timestamp(1_795_000_000), grants }
    }

    /// What `ssh-keygen -k -s none -z 7` of OpenSSH 9.2 makes of the same key id, but for the time.
    #[test]
    fn a_list_is_what_ssh_keygen_makes_of_the_same() {
        let bytes = list(7, &[]).to_bytes();
        let (head, section) = bytes.split_at(44);
        assert_eq!(head.get(..20).unwrap(), b"SSHKRL\n\0\0\0\0\x01\0\0\0\0\0\0\0\x07");
        assert_eq!(head.get(28..).unwrap(), [0; 16]);
        let ids = format!("\0\0\0\x12\0\0\0\x0e{NOBODY}");
        assert_eq!(section, format!("\x01\0\0\0\x1f\0\0\0\0\0\0\0\0\x23{ids}").as_bytes());
    }

    #[test]
    fn x_l_a_list_that_is_cut_off_or_changed_is_none() {
        let bytes = list(9, &[1, 2]).to_bytes();
        assert_eq!(Krl::read(&bytes), Some(list(9, &[1, 2])));
        for length in 0..bytes.len() {
            assert_eq!(Krl::read(&bytes[..length]), None, "{length}");
        }
        // All but version and time, which may be any.
        for index in (0..bytes.len()).filter(|index| !(12..28).contains(index)) {
            let mut changed = bytes.clone();
            changed[index] ^= 0x80;
            assert_eq!(Krl::read(&changed), None, "{index}");
        }
    }

    #[test]
    fn the_longest_list_fits() {
        let grants =
            (0..u128::try_from(REVOKED_MAX).unwrap()).map(|one| ActivationId::from_random(one.to_be_bytes()));
        let krl = Krl { version: u64::MAX, made: Timestamp(i64::MAX), grants: grants.collect() };
        assert_eq!(krl.grants.len(), REVOKED_MAX);
        assert!(u64::try_from(krl.to_bytes().len()).unwrap() <= KRL_MAX);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(version: u64, grants in proptest::collection::vec(any::<u8>(), 0..20)) {
            let krl = list(version, &grants);
            prop_assert_eq!(Krl::read(&krl.to_bytes()), Some(krl));
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_head = MAGIC.to_vec();
            with_head.extend(&bytes);
            prop_assert!(Krl::read(&bytes).is_none());
            drop(Krl::read(&with_head));
        }
    }
}
