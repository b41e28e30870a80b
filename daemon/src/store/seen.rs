//! What a transaction has read: it sees one moment, so the same question has the same answer and is not asked twice.
//!
//! In: rows as they were read. Out: the same. Whatever the transaction itself changes is forgotten, and asked anew.

use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::name::Name;

use super::{HostRow, LockRow};

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hosts: Vec<HostRow>,
    locks: Option<Vec<LockRow>>,
    unapproved: Option<ActivationId>,
}

impl Seen {
    /// A host by id.
    pub(super) fn host(&self, id: HostId) -> Option<&HostRow> {
        self.hosts.iter().find(|host| host.id == id)
    }

    /// A host by name.
    pub(super) fn host_named(&self, name: &Name) -> Option<&HostRow> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// A host was read.
    pub(super) fn saw_host(&mut self, host: &HostRow) {
        if self.host(host.id).is_none() {
            self.hosts.push(host.clone());
        }
    }

    /// Something of the host is another thing now.
    pub(super) fn forget_host(&mut self, id: HostId) {
        self.hosts.retain(|host| host.id != id);
    }

    /// Every lock in force.
    pub(super) fn locks(&self) -> Option<&[LockRow]> {
        self.locks.as_deref()
    }

    /// The locks were read.
    pub(super) fn saw_locks(&mut self, locks: &[LockRow]) {
        self.locks = Some(locks.to_vec());
    }

    /// A lock was set or ended.
    pub(super) fn forget_locks(&mut self) {
        self.locks = None;
    }

    /// Whether nobody can have approved this: it is only being made.
    pub(super) fn is_unapproved(&self, id: ActivationId) -> bool {
        self.unapproved == Some(id)
    }

    /// This is being made, or was just made here.
    pub(super) fn makes(&mut self, id: ActivationId) {
        self.unapproved = Some(id);
    }

    /// Somebody approved.
    pub(super) fn forget_approvals(&mut self) {
        self.unapproved = None;
    }
}
