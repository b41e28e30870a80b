//! A host that connects again and again, obedient or not: the log stays small and the counts exact (threat H11).

use elevate_audit::Kind;
use elevate_protocol::message::agent::Claim;

use super::place::*;

/// More than the log takes one by one.
const OFTEN: u64 = 150;

/// What the log says of connections: recorded one by one, and counted: connected, lost, refused.
async fn said(place: &Place) -> ([usize; 3], [u64; 3]) {
    let mut counted = [0; 3];
    for event in place.events().await {
        if let Kind::HostFlooded { connected, lost, refused, .. } = event.kind {
            counted = [counted[0] + connected, counted[1] + lost, counted[2] + refused];
        }
    }
    let recorded = [
        place.count("host.connected").await,
        place.count("host.lost").await,
        place.count("host.refused").await,
    ];
    (recorded, counted)
}

#[tokio::test]
async fn h11_a_host_that_reconnects_for_ever_is_counted_exactly_and_fills_no_log() {
    let mut place = Place::new().await;
    let web1 = place.enrol("web1", "web", 31).await;
    let web2 = place.enrol("web2", "web", 41).await;
    for number in 0..OFTEN {
        let mut agent = place.agent(&web1, 31).await;
        agent.hello(0).await;
        if number % 3 == 0 {
            // A second hello is nothing that an agent of ours says.
            let again = agent.greeting(0);
            agent.claim(Claim::Hello(again)).await;
        }
        let (claims, _) = tokio::sync::mpsc::channel(1);
        drop(std::mem::replace(&mut agent.claims, claims));
        assert!(agent.closed().await);
        soon("its end", async {
            while place.core.inner().agents.is_connected(web1.host) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // Another host is not counted with it.
    let other = place.obedient(&web2, 41).await;
    place.event("host.connected", 11).await;
    place.clock.advance(60);
    place.event("host.flooded", 1).await;
    drop(other);
    // What came after the counts were recorded is recorded one by one again; a daemon that stops forgets no count.
    for _ in 0..OFTEN {
        let mut agent = place.agent(&web1, 31).await;
        agent.hello(0).await;
    }
    place.restart().await;
    assert!(place.count("host.flooded").await >= 2);
    let (recorded, counted) = said(&place).await;
    let all = |index: usize| u64::try_from(recorded[index]).unwrap() + counted[index];
    assert_eq!(all(0), 2 * OFTEN + 1, "{recorded:?} {counted:?}");
    assert_eq!(all(2), OFTEN / 3, "{recorded:?} {counted:?}");
    assert!(recorded.iter().sum::<usize>() <= 20 + 20 + 2, "{recorded:?}");
}
