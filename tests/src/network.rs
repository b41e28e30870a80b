//! Cables between hosts and the switch of their lab.
//!
//! In: the pids that hold the network namespaces. Out: links in the state asked for.
//! Runs as: root. Spec: ip-link(8), nsenter(1).

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// One host's cable: `v<n>` at the switch, `eth0` in the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cable {
    pub(crate) switch: u32,
    pub(crate) number: u16,
}

impl Cable {
    pub(crate) fn address(self) -> String {
        let [high, low] = self.number.to_be_bytes();
        format!("10.77.{high}.{low}")
    }

    pub(crate) fn plug_in(self, host: i32) -> Result<()> {
        let n = self.number;
        self.at_switch(&format!(
            "link add v{n} type veth peer name eth0 netns {host}\nlink set v{n} master br0\nlink set v{n} up\n"
        ))?;
        let address = self.address();
        let host = u32::try_from(host)?;
        ip(host, &format!("link set lo up\naddr add {address}/16 dev eth0\nlink set eth0 up\n"))
    }

    /// The dead host's namespace takes both ends along, some time later; the name must be free now.
    pub(crate) fn pull_out(self) -> Result<()> {
        // Gone when it is looked for, or between that and its end.
        let gone = |said: &str| said.contains("Cannot find device") || said.contains("No such device");
        match self.at_switch(&format!("link del v{}\n", self.number)) {
            Err(error) if gone(&error.to_string()) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn at_switch(self, lines: &str) -> Result<()> {
        ip(self.switch, lines)
    }
}

fn ip(namespace_of: u32, lines: &str) -> Result<()> {
    let pid = namespace_of.to_string();
    let mut ip = Command::new("nsenter");
    ip.args(["-t", &pid, "-n", "ip", "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut ip = ip.spawn().context("cannot run nsenter")?;
    ip.stdin.take().context("ip has no input")?.write_all(lines.as_bytes())?;
    let out = ip.wait_with_output()?;
    ensure!(out.status.success(), "ip: {}in: {lines}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
