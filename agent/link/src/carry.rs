//! Carries frames between two streams until either side ends.
//!
//! In: bytes of both. Out: the same frames to the other, checked for length and for nothing else; never parsed.
//! A side that is silent, that does not read, or that claims an impossible length ends both. Spec: docs/wire.md.

use std::io;
use std::time::Duration;

use elevate_protocol::frame::{Decoder, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// elevate-agent.
    Agent,
    /// elevated.
    Daemon,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Agent => "the agent",
            Self::Daemon => "the daemon",
        })
    }
}

/// Why carrying ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The stream ended between two frames.
    #[error("{0} closed the connection")]
    Closed(Side),
    /// The stream ended inside a frame.
    #[error("{0} closed the connection inside a frame")]
    CutOff(Side),
    /// Nothing came for too long.
    #[error("nothing was heard from {0} for too long")]
    Silent(Side),
    /// It does not take what it is sent.
    #[error("{0} does not read what it is sent")]
    Stuck(Side),
    /// A length that no frame has.
    #[error("{0} sent something that is no frame")]
    Frame(Side, #[source] FrameError),
    /// The stream failed.
    #[error("the stream of {0} failed")]
    Stream(Side, #[source] io::Error),
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest silence.
    pub(crate) silence: Duration,
    /// Longest time to take one frame.
    pub(crate) write: Duration,
}

impl Limits {
    /// Those of docs/wire.md "Heartbeats": SILENCE_MAX of the protocol.
    pub(crate) const OURS: Self = Self { silence: Duration::from_secs(45), write: Duration::from_secs(30) };
}

/// Frames carried each way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    /// From the agent.
    pub(crate) up: u64,
    /// From the daemon.
    pub(crate) down: u64,
}

async fn forward(
    from: (impl AsyncRead + Unpin, Side),
    to: (impl AsyncWrite + Unpin, Side),
    limits: &Limits,
    count: &mut u64,
) -> End {
    let ((mut reader, source), (mut writer, target)) = (from, to);
    let mut decoder = Decoder::default();
    let mut piece = vec![0u8; PIECE];
    loop {
        let read = match timeout(limits.silence, reader.read(&mut piece)).await {
            Ok(Ok(0)) if decoder.is_inside() => return End::CutOff(source),
            Ok(Ok(0)) => return End::Closed(source),
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return End::Stream(source, error),
            Err(_) => return End::Silent(source),
        };
        decoder.feed(piece.get(..read).unwrap_or_default());
        loop {
            let frame = match decoder.next_raw() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return End::Frame(source, error),
            };
            let written = timeout(limits.write, async {
                writer.write_all(&frame).await?;
                writer.flush().await
            });
            match written.await {
                Ok(Ok(())) => *count = count.saturating_add(1),
                Ok(Err(error)) => return End::Stream(target, error),
                Err(_) => return End::Stuck(target),
            }
        }
    }
}

/// Carries until one side ends; then both are dropped by the caller.
pub(crate) async fn carry<A, D>(agent: A, daemon: D, limits: Limits) -> (End, Carried)
where
    A: AsyncRead + AsyncWrite,
    D: AsyncRead + AsyncWrite,
{
    let (from_agent, to_agent) = tokio::io::split(agent);
    let (from_daemon, to_daemon) = tokio::io::split(daemon);
    let mut carried = Carried::default();
    let up = forward((from_agent, Side::Agent), (to_daemon, Side::Daemon), &limits, &mut carried.up);
    let down = forward((from_daemon, Side::Daemon), (to_agent, Side::Agent), &limits, &mut carried.down);
    let end = tokio::select! { end = up => end, end = down => end };
    (end, carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::frame::{FRAME_MAX, encode};
    use tokio::io::{DuplexStream, duplex};

    const SHORT: Limits = Limits { silence: Duration::from_secs(5), write: Duration::from_secs(2) };

    fn pair() -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<(End, Carried)>) {
        let (agent, agent_end) = duplex(64 * 1024);
        let (daemon, daemon_end) = duplex(64 * 1024);
        (agent, daemon, tokio::spawn(carry(agent_end, daemon_end, SHORT)))
    }

    #[tokio::test]
    async fn frames_arrive_byte_for_byte_whatever_is_in_them() {
        let (mut agent, mut daemon, done) = pair();
        let mut frame = encode(&"{not read}").unwrap();
        frame.extend_from_slice(&[0, 0, 0, 3, 0xff, 0x00, 0x1b]);
        for byte in &frame {
            agent.write_all(&[*byte]).await.unwrap();
        }
        let mut got = vec![0; frame.len()];
        daemon.read_exact(&mut got).await.unwrap();
        assert_eq!(got, frame);
        daemon.write_all(&frame).await.unwrap();
        agent.read_exact(&mut got).await.unwrap();
        assert_eq!(got, frame);
        drop(agent);
        let (end, carried) = done.await.unwrap();
        assert!(matches!(end, End::Closed(Side::Agent)), "{end:?}");
        assert_eq!(carried, Carried { up: 2, down: 2 });
        assert_eq!(daemon.read(&mut got).await.unwrap(), 0, "the other side is closed too");
    }

    #[tokio::test]
    async fn b06_lengths_that_no_frame_has_end_both_sides_and_nothing_is_forwarded() {
        for claimed in [0, u32::try_from(FRAME_MAX).unwrap() + 1, u32::MAX] {
            let (mut agent, mut daemon, done) = pair();
            agent.write_all(&claimed.to_be_bytes()).await.unwrap();
            let (end, carried) = done.await.unwrap();
            assert!(matches!(end, End::Frame(Side::Agent, FrameError::Length { .. })), "{end:?}");
            assert_eq!(carried, Carried::default());
            assert_eq!(daemon.read(&mut [0; 8]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_side_that_goes_inside_a_frame_was_cut_off() {
        let (agent, mut daemon, done) = pair();
        daemon.write_all(&encode(&"whole").unwrap()[..6]).await.unwrap();
        drop(daemon);
        assert!(matches!(done.await.unwrap().0, End::CutOff(Side::Daemon)));
        drop(agent);
    }

    #[tokio::test(start_paused = true)]
    async fn h09_silence_and_a_peer_that_does_not_read_end_both() {
        let (agent, daemon, done) = pair();
        assert!(matches!(done.await.unwrap().0, End::Silent(_)));
        drop((agent, daemon));
        let (mut agent, daemon, done) = pair();
        let sending = tokio::spawn(async move {
            let frame = encode(&"x".repeat(60_000)).unwrap();
            while agent.write_all(&frame).await.is_ok() {}
        });
        assert!(matches!(done.await.unwrap().0, End::Stuck(Side::Daemon)));
        sending.await.unwrap();
        drop(daemon);
    }
}
