//! Lists of revoked certificates as sshd and ssh read them (sshd_config(5) `RevokedKeys`, ssh_config(5) `RevokedHostKeys`): by key id, which
//! in our certificates is the id of the grant, or of the host.
//!
//! In: grants that are over, hosts that are there no more, bytes of such a list. Out: the bytes that stand for them, and back. What
//! nobody of ours has written is not read. Spec: PROTOCOL.krl, docs/grant-format.md "Revocation list". Threats X-l, E19.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{ActivationId, HostId};
use crate::time::Timestamp;

/// Most grants of a list: what sshd looks through at each login of everybody.
pub const REVOKED_MAX: usize = 1024;
/// Longest such list in bytes.
pub const KRL_MAX: u64 = 64 * 1024;
/// Most hosts of one: with everything else in it, an answer about them fits into a frame.
pub const REVOKED_HOSTS_MAX: usize = 4096;
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

fn written((version, made): (u64, Timestamp), key_ids: impl Iterator<Item = String>) -> Vec<u8> {
    let mut ids = Vec::new();
    string(&mut ids, NOBODY.as_bytes());
    key_ids.for_each(|id| string(&mut ids, id.as_bytes()));
    let mut section = Vec::new();
    string(&mut section, b"");
    string(&mut section, b"");
    section.push(BY_KEY_ID);
    string(&mut section, &ids);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORM.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(made.0.max(0).to_be_bytes());
    // Flags, of which there are none yet.
    bytes.extend(0_u64.to_be_bytes());
    string(&mut bytes, b"");
    string(&mut bytes, b"");
    bytes.push(SECTION_CERTIFICATES);
    string(&mut bytes, &section);
    bytes
}

/// Hosts that others have taken the place of, while a certificate of theirs may be valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<HostId>", into = "Vec<HostId>")]
pub struct RevokedHosts(BTreeSet<HostId>);

/// There are more than anybody goes through at a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {REVOKED_HOSTS_MAX} hosts are revoked")]
pub struct TooManyHosts;

impl RevokedHosts {
    /// What ssh(1) reads: the certificates of these hosts are none, whichever of our keys has signed them, and whatever key they are of.
    /// The same hosts are the same bytes.
    #[must_use]
    pub fn to_krl(&self) -> Vec<u8> {
        written((1, Timestamp(0)), self.0.iter().map(ToString::to_string))
    }
}

impl TryFrom<Vec<HostId>> for RevokedHosts {
    type Error = TooManyHosts;
    fn try_from(hosts: Vec<HostId>) -> Result<Self, TooManyHosts> {
        if hosts.len() > REVOKED_HOSTS_MAX {
            Err(TooManyHosts)
        } else {
            Ok(Self(hosts.into_iter().collect()))
        }
    }
}

impl From<RevokedHosts> for Vec<HostId> {
    fn from(hosts: RevokedHosts) -> Self {
        hosts.0.into_iter().collect()
    }
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
        written((self.version, self.made), self.grants.iter().map(ToString::to_string))
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

    #[test]
    fn e19_the_longest_list_of_hosts_fits_and_says_the_same_in_any_order() {
        let host = |one: usize| HostId::from_random(u128::try_from(one).unwrap().to_be_bytes());
        let all: Vec<HostId> = (0..REVOKED_HOSTS_MAX).map(host).collect();
        let hosts = RevokedHosts::try_from(all.clone()).unwrap();
        assert!(serde_json::to_string(&hosts).unwrap().len() < crate::frame::FRAME_MAX / 2);
        let back = RevokedHosts::try_from(all.iter().rev().copied().collect::<Vec<_>>()).unwrap();
        assert_eq!(hosts.to_krl(), back.to_krl());
        let more = all.into_iter().chain([host(REVOKED_HOSTS_MAX)]).collect::<Vec<_>>();
        assert_eq!(RevokedHosts::try_from(more), Err(TooManyHosts));
        assert_eq!(RevokedHosts::default().to_krl().len(), list(1, &[]).to_bytes().len());
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
