//! One connection of a host's agent, as its link carries it.
//!
//! In: signed claims, unopened; the core verifies. Out: what the core says to the host. 45 s of silence end it.

use std::net::IpAddr;
use std::time::Duration;

use elevate_protocol::id::HostId;
use elevate_protocol::message::agent::SILENCE_MAX;
use elevate_protocol::signed::SignedBody;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Patience;
use super::frames::{PumpError, open, write};
use crate::core::Core;

/// Messages on their way, each direction; boxed, since a queue keeps room for 32 of whatever it carries.
const QUEUE: usize = 32;

/// Serves the connection to its end.
pub(crate) async fn serve(
    core: Core,
    host: HostId,
    from: IpAddr,
    stream: impl AsyncRead + AsyncWrite,
    patience: Patience,
) -> Result<(), PumpError> {
    let (mut frames, mut writer) = open(stream, patience, Duration::from_secs(SILENCE_MAX.0.into()));
    let (to_core, claims) = mpsc::channel::<Box<SignedBody>>(QUEUE);
    let (out, mut from_core) = mpsc::channel(QUEUE);
    // A task of its own: a panic in it ends this connection and nothing else.
    let serving = tokio::spawn(async move { core.serve_agent(host, from, claims, out).await });
    loop {
        // A place first: an agent that is faster than the core is slowed down by its own stream.
        let claim = async {
            match to_core.reserve().await {
                Ok(place) => Ok(frames.next::<Box<SignedBody>>().await?.map(|claim| (place, claim))),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            said = from_core.recv() => match said {
                Some(said) => write(&mut writer, &said, patience.write).await?,
                None => break,
            },
            claim = claim => match claim {
                Ok(Some((place, claim))) => place.send(claim),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
    if serving.await.is_err() {
        crate::log::error("the connection of a host ended by a panic");
    }
    drop(writer.shutdown().await);
    Ok(())
}
