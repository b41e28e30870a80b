//! What people may activate on a host, told to the host so that it can say so at the right moment.
//!
//! In: the policy. Out: [`ToAgent::Offers`], only when it differs from what was sent last. The agent answers with accounts.

use std::collections::BTreeMap;
use std::sync::Arc;

use elevate_policy::offers;
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::name::{Login, Name};

use super::{Cut, Serving};
use crate::core::{enforces, host_facts};
use crate::store::Change;

/// Roles by login.
pub(super) type Offers = BTreeMap<Login, Vec<Name>>;

impl Serving {
    /// Sends the offers when they differ from the last ones.
    pub(super) async fn offer(&mut self) -> Result<(), Cut> {
        let inner = Arc::clone(self.core.inner());
        self.asked = inner.agents.asked();
        let (policy, now) = (inner.policy(), inner.clock.now());
        let host = host_facts(&self.host);
        let mut roles = offers(&policy, &host, now);
        // Nobody is offered what this host would refuse.
        let enforced = |name: &Name| policy.role(name).is_some_and(|role| enforces(&self.host, role));
        roles.retain(|_, names| {
            names.retain(enforced);
            !names.is_empty()
        });
        // Their accounts are wanted all the same; what is shown is shown by sudo.
        let by_sudo = |name: &Name| policy.role(name).is_some_and(|role| role.sudo().is_some());
        roles.values_mut().for_each(|names| names.retain(by_sudo));
        let roles = inner.agents.shared(roles);
        if self.offered.as_ref() == Some(&roles) {
            // Nothing to ask again: what was answered, or will be, holds for this policy too.
            if self.unanswered == 0 {
                self.accounts_are_known();
            }
            return Ok(());
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.offered = Some(Arc::clone(&roles));
        self.say(ToAgent::Offers { roles: (*roles).clone() }).await
    }

    /// An agent answers each of its offers once, in order; what it says unasked comes when nothing is unanswered.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.accounts_are_known();
        }
    }

    /// Everybody who waits for this host's accounts goes on.
    fn accounts_are_known(&self) {
        self.seat.has_answered(self.asked);
        self.core.inner().store.tell(Change::Accounts(self.host.id));
    }
}
