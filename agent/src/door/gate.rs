//! Which asks go through door 1: only one's own, only about this host (docs/architecture.md "Doors").
//!
//! In: an [`Ask`] and this host's name. Out: nothing, or a refusal that says what to type instead. Pure.

use elevate_protocol::message::person::Ask;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::{HostWord, Name};

/// Whether an ask may pass.
///
/// # Errors
/// A [`Refusal`] with code `wrong-door`.
pub(crate) fn allowed(ask: &Ask, host: &Name) -> Result<(), Refusal> {
    match ask {
        Ask::Request(request) => match request.hosts.iter().find(|named| *named != host) {
            None => Ok(()),
            Some(other) => Err(elsewhere(other, &format!("elevate {} -H {other}", request.role))),
        },
        Ask::Why { host: Some(other), .. } if other != host => {
            Err(elsewhere(other, &format!("elevate why {other} -- COMMAND")))
        }
        Ask::CanI { host: Some(other), role } if other != host => {
            Err(elsewhere(other, &format!("elevate can-i {role} -H {other}")))
        }
        Ask::Show { documents: true, id } => Err(own_key(
            "signed documents are shown only to your own key",
            &format!("elevate show R-{}", id.letters()),
        )),
        Ask::Requests { to_review: true, .. } | Ask::Requests { mine: false, .. } => {
            Err(own_key("through a host you see only your own requests", "elevate requests"))
        }
        Ask::Approve { id, .. } => Err(own_key(
            "decisions are made with your own key, never through a host",
            &format!("elevate approve R-{}", id.letters()),
        )),
        Ask::Deny { id, .. } => Err(own_key(
            "decisions are made with your own key, never through a host",
            &format!("elevate deny R-{} -m REASON", id.letters()),
        )),
        Ask::History { person: Some(person), .. } => Err(own_key(
            "what others have had is shown only to your own key",
            &format!("elevate history --person {person}"),
        )),
        Ask::FactorAdd { .. } => {
            Err(own_key("a factor is enrolled with your own key, never through a host", "elevate mfa add"))
        }
        Ask::AtUse(_) => {
            Err(Refusal::new(Code::WrongDoor, "a use is asked for by sudo, not by a person's program"))
        }
        Ask::RecoveryMake => {
            Err(own_key("recovery codes are shown to your own key alone", "elevate mfa recovery"))
        }
        Ask::Certificate(_) => Err(own_key("a certificate is for your own key", "elevate cert -o FILE")),
        Ask::HostCas => Err(own_key("what your own ssh is to believe no host says", "elevate ssh-config")),
        Ask::Admin(_) => Err(Refusal::new(Code::WrongDoor, "Elevate is not administered through a host")
            .hint("on the daemon's machine, as root: elevatectl")),
        Ask::Resume { .. }
        | Ask::Overview
        | Ask::Eligible
        | Ask::Activations { .. }
        | Ask::History { person: None, .. }
        | Ask::Show { documents: false, .. }
        | Ask::Requests { to_review: false, mine: true, .. }
        | Ask::Cancel { .. }
        | Ask::Drop { .. }
        | Ask::Extend { .. }
        | Ask::Why { .. }
        | Ask::CanI { .. }
        | Ask::LockMe { .. }
        | Ask::FactorList
        | Ask::FactorTest
        | Ask::Whoami => Ok(()),
    }
}

fn elsewhere(other: &HostWord, type_this: &str) -> Refusal {
    Refusal::new(
        Code::WrongDoor,
        format!("from this host only its own rights can be asked for, not those of {other}"),
    )
    .hint(format!("from your own machine, with your own key: {type_this}"))
}

fn own_key(message: &str, type_this: &str) -> Refusal {
    Refusal::new(Code::WrongDoor, message)
        .hint(format!("from your own machine, with your own key: {type_this}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::person::RequestAsk;

    fn ask(json: &str) -> Ask {
        serde_json::from_str(json).unwrap()
    }

    fn request(hosts: &[&str]) -> Ask {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let role = "web-ops".parse().unwrap();
        Ask::Request(RequestAsk {
            role,
            hosts,
            duration: None,
            reason: None,
            ticket: None,
            wait: true,
            dry_run: false,
            amends: None,
        })
    }

    #[test]
    fn only_ones_own_asks_about_this_host_pass() {
        let web1: Name = "web1".parse().unwrap();
        for fine in [
            request(&[]),
            request(&["web1"]),
            ask(r#""overview""#),
            ask(r#"{"requests":{"to_review":false,"mine":true,"watch":true}}"#),
            ask(r#"{"show":{"id":"7K2M","documents":false}}"#),
            ask(r#"{"why":{"host":null,"argv":["/usr/bin/id"]}}"#),
            ask(r#"{"drop":{"id":null,"all":true}}"#),
        ] {
            assert_eq!(allowed(&fine, &web1), Ok(()), "{fine:?}");
        }
        for (wrong, type_this) in [
            (request(&["web1", "db1"]), "elevate web-ops -H db1"),
            (ask(r#"{"approve":{"id":"7K2M","reason":null}}"#), "elevate approve R-7K2M"),
            (ask(r#"{"deny":{"id":"7K2M","reason":"no"}}"#), "elevate deny R-7K2M"),
            (ask(r#"{"show":{"id":"7K2M","documents":true}}"#), "elevate show R-7K2M"),
            (ask(r#"{"requests":{"to_review":true,"mine":true,"watch":false}}"#), "elevate requests"),
            (ask(r#"{"requests":{"to_review":false,"mine":false,"watch":false}}"#), "elevate requests"),
            (ask(r#"{"factor-add":{"invitation":"x"}}"#), "elevate mfa add"),
            (ask(r#"{"why":{"host":"db1","argv":[]}}"#), "elevate why db1"),
            (ask(r#"{"admin":"person-list"}"#), "elevatectl"),
        ] {
            let refusal = allowed(&wrong, &web1).unwrap_err();
            assert_eq!(refusal.code, Code::WrongDoor);
            assert!(refusal.hint.as_ref().is_some_and(|hint| hint.contains(type_this)), "{refusal:?}");
        }
    }
}
