//! The alarm for an end that a host does not tell of: the last of the layers that end a right.
//!
//! In: ends that are over, hosts that are connected. Out: an event, once for each host and grant. Everything else that ends a
//! right is on the host; this is how people hear that none of it has worked, or that the host keeps silent (THREATS §6.3).

use elevate_audit::Kind;

use super::Inner;
use super::fault::Fault;
use crate::issue::on_host;
use crate::store::{Tx, Voice};

/// Raises the alarm for what is due, at most `most` at a time.
pub(super) async fn due(core: &Inner, tx: &mut Tx, most: u32) -> Result<(), Fault> {
    for (id, host) in tx.ends_due(most).await? {
        // What was not sent for lack of a signature is not the host's to answer for; `key.away` has told people.
        if !core.agents.is_connected(host) || tx.is_unsigned(id, host).await? {
            tx.await_hello(id, host).await?;
            continue;
        }
        tx.end_missed(id, host).await?;
        let Some(activation) = tx.activation(id).await? else { continue };
        let Some(part) = activation.hosts.iter().find(|part| part.id == host) else { continue };
        tx.record(Voice::DAEMON.did(on_host(&activation, part), Kind::HostEndMissing {})).await?;
    }
    Ok(())
}
