//! Raw bytes to a local socket, as whoever runs it: what an attacker on a host can do without `elevate`.
//!
//! In: `--socket PATH`, bytes on standard input; `--times N`. Out: what is answered, until the other side closes.
//! Runs as: the attacker, in a test host. Spec: unix(7).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::args::Args;

/// The options of `testbed speak`.
pub const OPTIONS: &[&str] = &["--socket", "--times", "--after"];

/// Sends standard input on `--times` connections (one, if not said), then writes what each says to its end.
///
/// With `--after close` this side says that nothing more comes; otherwise it stays and the other side has to close.
///
/// # Errors
/// Nobody listens, or the other side neither answers nor closes within a minute.
pub fn run(args: &Args) -> Result<()> {
    let path = args.need("--socket")?;
    let times: usize = args.one("--times").unwrap_or("1").parse().context("--times is a number")?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut connections = Vec::new();
    for _ in 0..times {
        let mut stream = UnixStream::connect(path).with_context(|| format!("cannot connect to {path}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        // It may hang up before all is written: then what it said is the answer.
        let _closed = stream.write_all(&bytes);
        if args.one("--after") == Some("close") {
            let _gone = stream.shutdown(Shutdown::Write);
        }
        connections.push(stream);
    }
    println!("SPOKEN {times}");
    for mut stream in connections {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        std::io::stdout().write_all(&answer)?;
        if let Err(error) = ended {
            anyhow::ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "not closed: {error}");
        }
    }
    println!("\nCLOSED");
    Ok(())
}
