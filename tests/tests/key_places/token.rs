//! A PKCS#11 token in software, and an ssh-agent of the daemon's own account in front of it, outside of the test hosts.
//!
//! In: softhsm2 and opensc of the machine. Out: a folder with the agent's socket, for the daemon's machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::DAEMON_UID;
use elevate_tests::{PATIENCE, eventually};

/// Where the folder is on the daemon's machine.
pub(crate) const PLACE: &str = "/srv/token";
const PIN: &str = "123456";
const MODULES: [&str; 2] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];

/// A token with a P-256 key and an Ed25519 key, both made in it.
pub(crate) struct Token {
    folder: tempfile::TempDir,
    module: &'static str,
}

/// A program that is ended with the test.
pub(crate) struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Token {
    pub(crate) fn new() -> Result<Self> {
        let module = MODULES.into_iter().find(|path| Path::new(path).exists());
        let token =
            Self { folder: tempfile::tempdir()?, module: module.context("softhsm2 is not installed")? };
        let tokens = token.folder().join("tokens");
        fs::create_dir(&tokens)?;
        fs::write(token.config(), format!("directories.tokendir = {}\n", tokens.display()))?;
        fs::write(token.folder().join("pin"), format!("#!/bin/sh\necho {PIN}\n"))?;
        fs::set_permissions(token.folder().join("pin"), fs::Permissions::from_mode(0o755))?;
        for path in [token.folder(), tokens] {
            chown(path, Some(DAEMON_UID), Some(DAEMON_UID))?;
        }
        token.make(
            "softhsm2-util",
            &["--init-token", "--free", "--label", "elevate", "--pin", PIN, "--so-pin", PIN],
        )?;
        for (kind, id) in [("EC:prime256v1", "01"), ("EC:edwards25519", "02")] {
            let make = ["--login", "--pin", PIN, "--keypairgen", "--key-type", kind, "--id", id];
            token.make(
                "pkcs11-tool",
                &[&["--module", token.module][..], &make[..], &["--label", kind][..]].concat(),
            )?;
        }
        Ok(token)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn config(&self) -> PathBuf {
        self.folder().join("softhsm2.conf")
    }

    fn socket(&self) -> PathBuf {
        self.folder().join("agent.sock")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.env("SOFTHSM2_CONF", self.config()).env("SSH_AUTH_SOCK", self.socket());
        command.env("SSH_ASKPASS", self.folder().join("pin")).env("SSH_ASKPASS_REQUIRE", "force");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        said(&mut self.command(program, arguments))
    }

    /// As the owner of the token.
    fn make(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program, arguments);
        said(command.uid(DAEMON_UID).gid(DAEMON_UID))
    }

    /// The keys that OpenSSH finds in it.
    pub(crate) fn public_keys(&self) -> Result<Vec<String>> {
        Ok(self.run("ssh-keygen", &["-D", self.module])?.lines().map(str::to_owned).collect())
    }

    /// Whether the Ed25519 key is there, whatever OpenSSH makes of it.
    pub(crate) fn has_ed25519(&self) -> Result<bool> {
        let objects =
            ["--module", self.module, "--list-objects", "--type", "privkey", "--login", "--pin", PIN];
        Ok(self.run("pkcs11-tool", &objects)?.contains("EC:edwards25519"))
    }

    /// An agent with the token in it.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let socket = self.socket();
        // The daemon's own account: an ssh-agent talks to its own uid and to root.
        let mut command = self.command("ssh-agent", &["-D", "-a"]);
        command.arg(&socket).uid(DAEMON_UID).gid(DAEMON_UID).stdout(Stdio::null());
        let agent = Agent(command.spawn()?);
        // The socket is there before anybody listens on it.
        eventually(PATIENCE, "the agent", || UnixStream::connect(&socket).is_ok())?;
        self.put_in()?;
        Ok(agent)
    }

    pub(crate) fn put_in(&self) -> Result<()> {
        self.run("ssh-add", &["-s", self.module]).map(drop)
    }

    pub(crate) fn take_out(&self) -> Result<()> {
        self.run("ssh-add", &["-e", self.module]).map(drop)
    }
}

fn said(command: &mut Command) -> Result<String> {
    let ran = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}
