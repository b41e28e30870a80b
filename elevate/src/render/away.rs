//! What a host that is cut off says: since when, what still works and until when.
//!
//! In: the agent's word. Out: one sentence for people and for JSON. Spec: docs/cli.md "Offline".

use elevate_protocol::id::PREFIX_MIN;
use elevate_protocol::message::person::{Away, AwayGrant};

use super::At;
use super::when;

/// Most grants that are told of.
const GRANTS_MAX: usize = 8;

/// `no contact with the daemon since 02:51 CET. G-31AB works until 02:56 CET (lease). New grants: not now`.
#[must_use]
pub fn sentence(away: &Away, at: &At) -> String {
    let mut parts = vec![match away.since {
        Some(since) => format!("no contact with the daemon since {}", when::clock(since, at)),
        None => "no contact with the daemon".to_owned(),
    }];
    parts.extend(away.grants.iter().take(GRANTS_MAX).map(|grant| works(grant, at)));
    parts.push("New grants: not now".to_owned());
    parts.join(". ")
}

fn works(grant: &AwayGrant, at: &At) -> String {
    let id: String = grant.id.to_string().chars().take(PREFIX_MIN).collect();
    let lease = if grant.lease { " (lease)" } else { "" };
    format!("G-{id} works until {}{lease}", when::clock(grant.until, at))
}

#[cfg(test)]
mod tests {
    use elevate_protocol::id::ActivationId;
    use elevate_protocol::time::{Span, Timestamp};
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn it_says_since_when_what_works_and_until_when() {
        let now = Timestamp(1_795_268_460);
        let at = At { now, zone: TimeZone::UTC };
        let grant = |left, lease| AwayGrant {
            id: ActivationId::from_random([9; 16]),
            role: "web-root".parse().unwrap(),
            until: now.after(Span(left)),
            lease,
        };
        let away =
            Away { since: Some(now.before(Span(60))), grants: vec![grant(240, true), grant(3600, false)] };
        let id: String = grant(0, true).id.to_string().chars().take(4).collect();
        assert_eq!(
            sentence(&away, &at),
            format!(
                "no contact with the daemon since 13:40 UTC. G-{id} works until 13:45 UTC (lease). \
                 G-{id} works until 14:41 UTC. New grants: not now"
            )
        );
        let nothing = Away { since: None, grants: vec![] };
        assert_eq!(sentence(&nothing, &at), "no contact with the daemon. New grants: not now");
    }
}
