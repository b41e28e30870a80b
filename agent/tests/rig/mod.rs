//! A host in a folder for the real `elevate-agent`, and the daemon's side of its link.
//!
//! The agent runs in a mount namespace of its own with two accounts, alice (2000) and mallory (2001); libpam, getent, visudo
//! and the kernel are the real ones.

#![allow(dead_code, reason = "each suite uses its own part of this")]

pub(crate) mod contact;
pub(crate) mod person;
mod process;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, Grant};
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, ClusterId, HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, TrustedKeys};
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::VouchReader;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

use person::Person;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Names the socket for a test binary that plays a person.
const PERSON: &str = "ELEVATE_TEST_PERSON";

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub(crate) fn host() -> HostId {
    HostId::from_random([1; 16])
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_random([2; 16])
}

pub(crate) fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp(i64::try_from(seconds).unwrap())
}

/// Waits for a condition; fails with `what` when it never comes.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The host.
pub(crate) struct Rig {
    place: tempfile::TempDir,
    agent: Option<Child>,
}

impl Rig {
    /// An enrolled host whose agent runs.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut rig = Self { place, agent: None };
        for folder in [
            "etc/elevate/trust",
            "etc/elevate/keys",
            "etc/pam.d",
            "etc/sudoers.d",
            "lib/x/security",
            "var/lib/elevate",
            "run",
        ] {
            std::fs::create_dir_all(rig.path(folder)).unwrap();
        }
        let config = format!(
            "daemon = \"127.0.0.1:7022\"\nfingerprint = \"SHA256:x\"\nhost = \"{}\"\nname = \"web1\"\ncluster = \"{}\"\nlink_user = \"root\"\n",
            host(),
            cluster()
        );
        rig.write("etc/elevate/agent.toml", &config, 0o644);
        let signers = TrustedKeys::one(key(7).public_key().clone()).unwrap().to_signers().unwrap();
        rig.write("etc/elevate/trust/grant_signers", &signers, 0o644);
        rig.write("etc/elevate/keys/vouch", &key(8).to_openssh(LineEnding::LF).unwrap(), 0o600);
        rig.write("var/lib/elevate/position", r#"{"epoch":1,"seq":0}"#, 0o600);
        rig.write("etc/sudoers.d/zz-elevate", "@includedir /run/elevate/sudoers.d\n", 0o440);
        rig.gates();
        rig.write("lib/x/security/pam_unix.so", "", 0o644);
        // Any whole library will do: the agent looks at the file and does not load it.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps.split_whitespace().find(|word| word.contains("/libc.so")).unwrap();
        std::fs::copy(library, rig.path("lib/x/security/pam_elevate.so")).unwrap();
        rig.write(
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\nalice:x:2000:2000::/:/bin/sh\nmallory:x:2001:2001::/:/bin/sh\n",
            0o644,
        );
        rig.write(
            "services/elevate",
            "auth required pam_unix.so nodelay\naccount required pam_permit.so\n",
            0o644,
        );
        std::fs::copy(std::env::current_exe().unwrap(), rig.path("person")).unwrap();
        rig.start();
        rig
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// The PAM lines as enroll writes them.
    pub(crate) fn gates(&self) {
        let gate = "#%PAM-1.0\naccount [success=ok ignore=ignore module_unknown=ignore default=die] pam_elevate.so\n";
        for service in ["sudo", "sudo-i"] {
            self.write(&format!("etc/pam.d/{service}"), gate, 0o644);
        }
    }

    /// Starts the agent, under a umask that takes nothing away (threat A13).
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with what systemd would say in its environment.
    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) {
        let script = "umask 0000; mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/services\" /etc/pam.d && \
                      exec \"$2\" --root \"$1\" run";
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", script, "sh"]);
        command.arg(self.place.path()).arg(env!("CARGO_BIN_EXE_elevate-agent"));
        command.envs(environment.iter().copied());
        self.agent = Some(command.spawn().unwrap());
        self.wait_for_door();
    }

    fn wait_for_door(&self) {
        until("agent.sock", || UnixStream::connect(self.path("run/elevate/agent.sock")).is_ok());
    }

    /// What the agent says when it does not start.
    pub(crate) fn fails_to_start(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_elevate-agent"))
            .args([Path::new("--root"), self.place.path(), Path::new("run")])
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// `elevate-agent status`: its exit code and what it prints.
    pub(crate) fn status(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elevate-agent"));
        let output =
            command.arg("--root").arg(self.place.path()).arg("status").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.take();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Stops the agent where it stands: it neither runs nor ends, and its sockets stay.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        until("the stop", || {
            // The state follows the name in parentheses, which may hold anything: proc(5).
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
    }

    /// Lets a stopped agent run.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// The agent's child processes.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let of_task =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        of_task
            .flat_map(|line| line.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    }

    /// Resident memory of the agent in kilobytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A process of `uid` that talks to door 1.
    pub(crate) fn person(&self, uid: u32, task: &str) -> Person {
        let mut child = Command::new(self.path("person"))
            .args(["--exact", "a_person", "--nocapture"])
            .env(PERSON, self.path("run/elevate/agent.sock"))
            .env("ELEVATE_TEST_TASK", task)
            .uid(uid)
            .gid(uid)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Person { child, input, output }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.agent.is_some() {
            self.kill();
        }
    }
}

/// The daemon's end of the link.
pub(crate) struct Daemon {
    stream: UnixStream,
    vouches: VouchReader,
    pub(crate) reports: Vec<Report>,
    pub(crate) hello: AgentHello,
}

impl Daemon {
    /// Connects, greets and bids welcome.
    pub(crate) fn connect(rig: &Rig) -> Self {
        let mut daemon = Self::greet(rig);
        daemon.send(&ToAgent::Welcome { version: 1, name: "web1".parse().unwrap(), reported: 0 });
        // Before the agent has read it, it refuses what people ask: the daemon is not there for it yet.
        until("the welcome", || rig.read("run/elevate/status.json").contains("\"connected\":true"));
        daemon
    }

    /// Connects and hears the agent's hello.
    pub(crate) fn greet(rig: &Rig) -> Self {
        let stream = UnixStream::connect(rig.path("run/elevate/link.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let nonce = Nonce::from_random([9; 16]);
        let keys = TrustedKeys::one(key(8).public_key().clone()).unwrap();
        let vouches = VouchReader::new(keys, host(), nonce);
        let mut stream = stream;
        let hello = ToAgent::Hello { versions: Versions::OURS, cluster: cluster(), nonce, time: now() };
        frame::write(&mut stream, &hello).unwrap();
        let mut vouches = vouches;
        let signed: SignedBody = frame::read(&mut stream).unwrap().unwrap();
        let Claim::Hello(hello) = vouches.open(&signed).unwrap() else { panic!("no hello") };
        Self { stream, vouches, reports: vec![], hello }
    }

    pub(crate) fn send(&mut self, message: &ToAgent) {
        frame::write(&mut self.stream, message).unwrap();
    }

    /// Sends where the agent may have hung up; whether it went out.
    pub(crate) fn try_send(&mut self, message: &ToAgent) -> bool {
        frame::write(&mut self.stream, message).is_ok()
    }

    /// The next claim that is no report; reports are kept and acknowledged. None when the agent hung up.
    pub(crate) fn claim(&mut self) -> Option<Claim> {
        loop {
            let signed: SignedBody = frame::read(&mut self.stream).unwrap()?;
            match self.vouches.open(&signed).unwrap() {
                Claim::Report { number, report, .. } => {
                    self.reports.push(report);
                    // The agent may have hung up meanwhile; the next read says so.
                    drop(frame::write(&mut self.stream, &ToAgent::Recorded { number }));
                }
                // Enforcement comes and goes as the tests have it: those that ask for it look at reports.
                Claim::Heartbeat { .. } | Claim::Sudo(_) | Claim::Ssh(_) => {}
                claim => return Some(claim),
            }
        }
    }

    /// Reads until a report comes that is wanted.
    pub(crate) fn report(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            if let Some(at) = self.reports.iter().position(&wanted) {
                return self.reports.remove(at);
            }
            let signed: SignedBody = frame::read(&mut self.stream).unwrap().expect("the agent hung up");
            match self.vouches.open(&signed).unwrap() {
                Claim::Report { number, report, .. } => {
                    self.reports.push(report);
                    // The agent may have hung up meanwhile; the next read says so.
                    drop(frame::write(&mut self.stream, &ToAgent::Recorded { number }));
                }
                Claim::Heartbeat { .. }
                | Claim::Contact { .. }
                | Claim::Applied { .. }
                | Claim::Sudo(_)
                | Claim::Ssh(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a document and returns what became of it.
    pub(crate) fn apply(&mut self, seq: u64, act: Act) -> Applied {
        self.send(&ToAgent::Document(sign(seq, act)));
        loop {
            match self.claim() {
                Some(Claim::Applied { seq: found, result }) if found == seq => return result,
                // A daemon that does not answer.
                Some(Claim::Contact { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn document(seq: u64, act: Act) -> Document {
    Document { format: 1, cluster: cluster(), host: host(), epoch: 1, seq, act }
}

pub(crate) fn sign(seq: u64, act: Act) -> SignedBody {
    sign_document(&document(seq, act))
}

pub(crate) fn sign_document(document: &Document) -> SignedBody {
    SignedBody::sign(document.to_line().unwrap(), &key(7), GRANT_NAMESPACE).unwrap()
}

/// A grant for alice, of `/usr/bin/id` as root, that lasts `seconds` from now.
pub(crate) fn grant(id: u8, seconds: u32) -> Grant {
    let begin = now();
    Grant {
        id: ActivationId::from_random([id; 16]),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid: 2000,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: begin.before(Span::MINUTE),
        not_after: begin.after(Span(seconds)),
        duration: Span(seconds),
        warn: vec![],
        sudo: Some(serde_json::from_str(r#"{"as":"root","run":[["/usr/bin/id"]]}"#).unwrap()),
        ssh: None,
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec![],
    }
}

pub(crate) fn act(grant: Grant) -> Act {
    Act::Grant(Box::new(grant))
}

pub(crate) fn offers(of: &[(&str, &str)]) -> ToAgent {
    let mut roles = BTreeMap::new();
    for (login, role) in of {
        roles.insert(login.parse().unwrap(), vec![role.parse().unwrap()]);
    }
    ToAgent::Offers { roles }
}
