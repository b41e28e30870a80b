//! Which door an ask goes through.
//!
//! In: the ask, whether this host is managed, its name, whether a daemon is pinned. Out: a door, or what to type where.
//! Own asks about this host go through door 1; everything else needs one's own key. Spec: docs/cli.md "Doors".

use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::Ask;
use elevate_protocol::name::{HostWord, Name};

use crate::door::{DoorError, Which};

/// What is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    /// There is an agent's socket.
    pub(super) managed: bool,
    /// This host's name.
    pub(super) host: Option<&'a Name>,
    /// A daemon is pinned.
    pub(super) pinned: bool,
}

/// The door for an ask.
///
/// # Errors
/// [`DoorError::OwnKey`] with what to type elsewhere, [`DoorError::Nowhere`] when nothing is set up.
pub(super) fn door(ask: &Ask, here: Here<'_>) -> Result<Which, DoorError> {
    let elsewhere = elsewhere(ask, here.host);
    match (elsewhere, here.managed, here.pinned) {
        (None, true, _) => Ok(Which::One),
        (_, _, true) => Ok(Which::Two),
        (Some(command), true, false) => Err(DoorError::OwnKey { command }),
        (_, false, false) => Err(DoorError::Nowhere),
    }
}

/// What to type where one's key is, when the ask cannot go through this host's agent.
fn elsewhere(ask: &Ask, this: Option<&Name>) -> Option<String> {
    let id = |id: &IdPrefix| format!("R-{}", id.letters());
    let other = |host: &HostWord| this.is_none_or(|this| *host != *this);
    match ask {
        Ask::Request(request) => request.hosts.iter().any(other).then(|| {
            let hosts: Vec<String> = request.hosts.iter().map(|host| format!("-H {host}")).collect();
            format!("elevate {} {}", request.role, hosts.join(" "))
        }),
        Ask::Why { host: Some(host), .. } => other(host).then(|| format!("elevate why {host} -- CMD")),
        Ask::CanI { role, host: Some(host) } => {
            other(host).then(|| format!("elevate can-i {role} -H {host}"))
        }
        Ask::Show { id: which, documents: true } => Some(format!("elevate show {} --documents", id(which))),
        Ask::Requests { to_review: true, .. } => Some("elevate requests --to-review".to_owned()),
        Ask::Approve { id: which, .. } => Some(format!("elevate approve {}", id(which))),
        Ask::Deny { id: which, .. } => Some(format!("elevate deny {} -m …", id(which))),
        Ask::History { person: Some(person), .. } => Some(format!("elevate history --person {person}")),
        Ask::FactorAdd { .. } => Some("elevate mfa add".to_owned()),
        Ask::RecoveryMake => Some("elevate mfa recovery".to_owned()),
        Ask::Certificate(_) => Some("elevate cert -o FILE".to_owned()),
        Ask::HostCas => Some("elevate ssh-config".to_owned()),
        Ask::FactorList => Some("elevate mfa list".to_owned()),
        Ask::FactorTest => Some("elevate mfa test".to_owned()),
        // Not an ask of this program; the daemon refuses it through both doors.
        Ask::Admin(_) => Some("elevatectl".to_owned()),
        Ask::Why { host: None, .. }
        | Ask::CanI { host: None, .. }
        | Ask::Show { documents: false, .. }
        | Ask::Requests { to_review: false, .. }
        | Ask::Resume { .. }
        | Ask::Overview
        | Ask::Eligible
        | Ask::Activations { .. }
        | Ask::History { person: None, .. }
        | Ask::Cancel { .. }
        | Ask::Drop { .. }
        | Ask::Extend { .. }
        | Ask::AtUse(_)
        | Ask::LockMe { .. }
        | Ask::Whoami => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::person::RequestAsk;

    fn request(hosts: &[&str]) -> Ask {
        Ask::Request(RequestAsk {
            role: "web-ops".parse().unwrap(),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            duration: None,
            reason: None,
            ticket: None,
            wait: true,
            dry_run: false,
            amends: None,
        })
    }

    fn at(ask: &Ask, managed: bool, pinned: bool) -> Result<Which, String> {
        let web1: Name = "web1".parse().unwrap();
        let here = Here { managed, host: managed.then_some(&web1), pinned };
        door(ask, here)
            .map_err(|error| format!("{}|{}", error.code().exit(), error.hint().unwrap_or_default()))
    }

    #[test]
    fn own_asks_about_this_host_go_through_its_agent() {
        for ask in [request(&[]), request(&["web1"]), Ask::Overview, Ask::Whoami] {
            assert_eq!(at(&ask, true, true), Ok(Which::One), "{ask:?}");
            assert_eq!(at(&ask, false, true), Ok(Which::Two), "{ask:?}");
        }
        assert!(at(&Ask::Overview, false, false).unwrap_err().starts_with("8|elevate login STRING"));
    }

    #[test]
    fn everything_else_needs_ones_own_key_and_says_what_to_type() {
        let approve = Ask::Approve { id: "R-7K2M".parse().unwrap(), reason: None };
        assert_eq!(at(&approve, true, true), Ok(Which::Two));
        assert_eq!(
            at(&approve, true, false),
            Err("3|from your own machine, with your own key: elevate approve R-7K2M".to_owned())
        );
        let other = request(&["web1", "web2"]);
        assert_eq!(at(&other, true, true), Ok(Which::Two));
        assert!(at(&other, true, false).unwrap_err().ends_with("elevate web-ops -H web1 -H web2"));
        let review = Ask::Requests { to_review: true, mine: false, watch: false };
        assert!(at(&review, true, false).unwrap_err().ends_with("elevate requests --to-review"));
    }
}
