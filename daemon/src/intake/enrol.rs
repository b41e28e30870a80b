//! One enrolment: one frame in, one frame out.
//!
//! In: a stream whose other end holds `key`. Out: the core's answer. The frame must name that same key (threat H02).

use std::net::IpAddr;

use elevate_protocol::message::Versions;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply};
use elevate_protocol::message::refusal::{Code, Refusal};
use ssh_key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::Patience;
use super::frames::{PumpError, open, write};
use crate::core::Core;

/// Serves the enrolment to its end.
pub(crate) async fn serve(
    core: Core,
    key: PublicKey,
    from: IpAddr,
    stream: impl AsyncRead + AsyncWrite,
    patience: Patience,
) -> Result<(), PumpError> {
    let (mut frames, mut writer) = open(stream, patience, patience.first);
    let Some(ask) = frames.next::<EnrolAsk>().await? else { return Ok(()) };
    let named = PublicKey::from_openssh(&ask.link_key);
    let same = named.is_ok_and(|named| named.key_data() == key.key_data());
    let reply = if ask.versions.common(Versions::OURS).is_none() {
        EnrolReply::Refused(Refusal::new(Code::Version, "this daemon speaks version 1 of the protocol"))
    } else if !same {
        EnrolReply::Refused(Refusal::new(
            Code::Integrity,
            "the request names another link key than the connection",
        ))
    } else {
        core.enrol(ask, &key, from).await
    };
    write(&mut writer, &reply, patience.write).await?;
    drop(writer.shutdown().await);
    Ok(())
}
