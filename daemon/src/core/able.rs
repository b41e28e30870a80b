//! Whether what enforces on a host can be trusted with a role: asked before anybody types a code for nothing.
//!
//! In: what the host said of its sudo and its sshd. Out: nothing, or why not. The host itself refuses the same (THREATS §6.1).

use elevate_policy::Role;
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::message::refusal::Code;

use super::Inner;
use super::fault::{Told, refuse_hint};
use crate::store::{Activation, HostRow, Tx};

/// Why a role would not be enforced on a host. A host that has said nothing yet may well enforce it.
pub(crate) fn hindrance(host: &HostRow, role: &Role) -> Option<String> {
    let sudo = host.sudo.as_ref().and_then(|sudo| sudo.hindrance(role.sudo()?));
    sudo.or_else(|| role.ssh().and(host.ssh.as_ref()).and_then(SshEnforcement::hindrance))
}

/// Whether a role is for hosts and this one would enforce it.
pub(crate) fn enforces(host: &HostRow, role: &Role) -> bool {
    role.is_for_hosts() && hindrance(host, role).is_none()
}

/// Refuses an activation that one of its hosts would refuse.
pub(super) async fn able(core: &Inner, tx: &mut Tx, activation: &Activation) -> Told<()> {
    let policy = core.policy();
    // A role that is gone is the decision's to refuse.
    let Some(role) = policy.role(&activation.role) else { return Ok(()) };
    for part in &activation.hosts {
        let Some(host) = tx.host(part.id).await? else { continue };
        if let Some(why) = hindrance(&host, role) {
            return refuse_hint(
                Code::Host,
                format!("{} refuses: {why}", host.name),
                format!("root on {}: elevate-agent doctor", host.name),
            );
        }
    }
    Ok(())
}
