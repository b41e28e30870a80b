//! The log, followed by an administrator.
//!
//! In: how many of the latest, and whether to stay. Out: [`Reply::Event`]s, canonical lines.

use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::person::{Outcome, Reply};
use elevate_protocol::message::refusal::Code;

use super::dialogue::Dialogue;
use super::fault::{Told, refuse};
use super::{Core, entitled};

/// Most of the latest events at once.
const LAST_MAX: u32 = 10_000;
/// Events read at a time.
const BATCH: u32 = 256;

pub(super) async fn tail(
    core: &Core,
    talk: &mut Dialogue,
    ask: &AdminAsk,
    (last, follow): (u32, bool),
) -> Told<Outcome> {
    let Some(_place) = core.inner().talks.stay() else { return refuse(Code::Busy, "too many are following") };
    let mut reader = core.events();
    let end = reader.head();
    let mut next = end.saturating_sub(u64::from(last.min(LAST_MAX)));
    loop {
        let events = reader.read(next, BATCH).await?;
        // The end of a grant is an event itself: whoever follows by a grant is looked at before that is shown.
        entitled::entitled(core.inner(), talk, ask).await?;
        if events.is_empty() {
            if !follow {
                return Ok(Outcome::Admin(AdminOutcome::Ok));
            }
            tokio::select! {
                there = reader.wait_for(next) => if !there {
                    return refuse(Code::Unreachable, "the daemon is stopping");
                },
                stop = talk.hear_nothing() => return Err(stop),
            }
        }
        for event in events {
            // Without following, what comes while this is sent is not part of the answer.
            if !follow && event.event.seq >= end {
                return Ok(Outcome::Admin(AdminOutcome::Ok));
            }
            next = event.event.seq.saturating_add(1);
            talk.tell(Reply::Event(event.line)).await?;
        }
    }
}
