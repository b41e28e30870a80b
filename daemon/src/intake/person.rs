//! The conversations of a person or of root on one stream, one after the other: hello, then what the core does with each.
//!
//! In: a stream and who was proven to be at its other end. Out: a [`Conversation`] for the core, replies on the stream.

use elevate_protocol::message::Versions;
use elevate_protocol::message::person::{Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Patience;
use super::frames::{Frames, NO_LIMIT, PumpError, open, write};
use crate::core::{Conversation, Core, Speaker};

/// What a person may say that the core has not read yet.
const SAYS: usize = 8;
/// What the core may say that is not sent yet.
const REPLIES: usize = 16;

/// What came of one thing that was said.
enum Heard {
    Goes,
    Over,
    Refused(Refusal),
}

/// How a conversation ended.
enum Spoken {
    /// With an answer: another may follow.
    Answered,
    /// With the stream.
    Over,
}

/// Holds each conversation to its end.
pub(crate) async fn serve(
    core: Core,
    speaker: Speaker,
    stream: impl AsyncRead + AsyncWrite,
    patience: Patience,
) -> Result<(), PumpError> {
    let (mut frames, mut writer) = open(stream, patience, patience.first);
    let refusal = match frames.next().await? {
        None => return Ok(()),
        Some(Say::Hello { versions }) => match versions.common(Versions::OURS) {
            Some(version) => {
                write(&mut writer, &Reply::Hello { version }, patience.write).await?;
                let mut asked = None;
                // Who asks once goes then; who asks again needs neither a channel nor a hello.
                while let Spoken::Answered =
                    speak((&core, &speaker), asked.take(), &mut frames, &mut writer, patience).await?
                {
                    asked = match again(&mut frames, patience).await {
                        Ok(Some(said)) => Some(said),
                        Ok(None) | Err(PumpError::Silent) => break,
                        Err(error) => return Err(error),
                    };
                }
                drop(writer.shutdown().await);
                return Ok(());
            }
            None => Refusal::new(Code::Version, "this daemon speaks version 1 of the protocol"),
        },
        Some(
            Say::Ask(_)
            | Say::Answer { .. }
            | Say::Confirm { .. }
            | Say::Input { .. }
            | Say::Leave
            | Say::Use(_)
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_),
        ) => Refusal::new(Code::Usage, "a conversation begins with hello"),
    };
    refuse(&mut writer, refusal, patience).await
}

/// What is said after an answer. An answer to a question of before, or a goodbye to it, was on its way and is nobody's any more.
async fn again<R: AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    patience: Patience,
) -> Result<Option<Say>, PumpError> {
    frames.allow_silence(patience.first);
    for _ in 0..SAYS {
        match frames.next().await? {
            Some(Say::Answer { .. } | Say::Leave) => {}
            said => return Ok(said),
        }
    }
    Ok(None)
}

/// Says no and ends the stream.
pub(crate) async fn refuse(
    writer: &mut (impl AsyncWrite + Unpin),
    refusal: Refusal,
    patience: Patience,
) -> Result<(), PumpError> {
    write(writer, &Reply::Refused(refusal), patience.write).await?;
    drop(writer.shutdown().await);
    Ok(())
}

async fn speak<R, W>(
    (core, speaker): (&Core, &Speaker),
    asked: Option<Say>,
    frames: &mut Frames<R>,
    writer: &mut W,
    patience: Patience,
) -> Result<Spoken, PumpError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (to_core, say) = mpsc::channel(SAYS);
    let (reply, mut from_core) = mpsc::channel(REPLIES);
    let (core, speaker) = (core.clone(), speaker.clone());
    // A task of its own: a panic in it ends this conversation and nothing else.
    let holding = tokio::spawn(async move { core.converse(Conversation { speaker, say, reply }).await });
    let mut asked = asked;
    loop {
        let next = async {
            match asked.take() {
                Some(said) => Ok(Some(said)),
                None => frames.next().await,
            }
        };
        tokio::select! {
            reply = from_core.recv() => {
                let Some(reply) = reply else { break };
                write(writer, &reply, patience.write).await?;
                if reply.is_last() {
                    return Ok(Spoken::Answered);
                }
            }
            said = next => {
                let Some(said) = said? else { return Ok(Spoken::Over) };
                frames.allow_silence(NO_LIMIT);
                match hear(said, &to_core) {
                    Heard::Goes => {}
                    Heard::Over => return Ok(Spoken::Over),
                    Heard::Refused(refusal) => {
                        refuse(writer, refusal, patience).await?;
                        return Ok(Spoken::Over);
                    }
                }
            }
        }
    }
    if holding.await.is_err() {
        crate::log::error("a conversation ended by a panic");
    }
    refuse(writer, Refusal::new(Code::Internal, "the daemon ended the conversation"), patience).await?;
    Ok(Spoken::Over)
}

fn hear(said: Say, to_core: &mpsc::Sender<Say>) -> Heard {
    match said {
        Say::Hello { .. } => Heard::Refused(Refusal::new(Code::Usage, "hello is said once")),
        // What only an agent says, about somebody at its host.
        Say::Confirm { .. }
        | Say::Input { .. }
        | Say::Use(_)
        | Say::AtUse(_)
        | Say::Ssh(_)
        | Say::SshDenied(_) => {
            Heard::Refused(Refusal::new(Code::WrongDoor, "this is said through a host's agent only"))
        }
        said @ (Say::Ask(_) | Say::Answer { .. } | Say::Leave) => match to_core.try_send(said) {
            Ok(()) => Heard::Goes,
            Err(TrySendError::Full(_)) => {
                Heard::Refused(Refusal::new(Code::Busy, "too much was said at once"))
            }
            Err(TrySendError::Closed(_)) => Heard::Over,
        },
    }
}
