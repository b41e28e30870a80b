//! A real ssh-agent for tests.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use ssh_key::PublicKey;

/// `ssh-agent -D` with what was added to it.
pub(crate) struct Agent {
    pub(super) child: Child,
    pub(super) place: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_with(place: tempfile::TempDir) -> Self {
        let mut command = Command::new("ssh-agent");
        command.env("SOFTHSM2_CONF", place.path().join("softhsm2.conf"));
        command.arg("-D").arg("-a").arg(place.path().join("sock")).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let began = std::time::Instant::now();
        // The socket is there before anybody listens on it.
        while std::os::unix::net::UnixStream::connect(place.path().join("sock")).is_err() {
            assert!(began.elapsed().as_secs() < 30, "the agent does not start");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { child, place }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("sock")
    }

    pub(crate) fn add(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", self.socket()).env_remove("DISPLAY");
        command.output().unwrap()
    }

    /// Makes a key of this type and gives it to the agent; the file goes.
    pub(crate) fn key(&self, kind: &str) -> PublicKey {
        let file = self.place.path().join(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
            .arg(&file)
            .status()
            .unwrap();
        assert!(made.success());
        assert!(self.add(&[file.to_str().unwrap()]).status.success());
        std::fs::remove_file(&file).unwrap();
        let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
        PublicKey::from_openssh(public.trim()).unwrap()
    }

    /// Locks or unlocks it, or gives it a token; what is secret is asked of a program, as there is no terminal.
    pub(crate) fn with_secret(&self, arguments: &[&str]) {
        let ask = self.place.path().join("ask");
        std::fs::write(&ask, "#!/bin/sh\necho 123456\n").unwrap();
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", self.socket());
        command.env("SSH_ASKPASS", &ask).env("SSH_ASKPASS_REQUIRE", "force");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Agent {
    /// Stops it, or lets it go on: who connects meanwhile gets no answer.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
