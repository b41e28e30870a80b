//! A host with the real sshd and the real agent, and a daemon in the test's hand: what it signs, the agent hears.
//!
//! In: grants, keys of a CA of the test. Out: what ssh says. Runs as: root. The suites with a real daemon are elsewhere.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, End, EndCause, FORMAT, Grant};
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, ClusterId, HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Applied, Claim, ToAgent};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, TrustedKeys};
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::VouchReader;
use elevate_tests::fleet::installed_host;
use elevate_tests::{Access, Host, Lab, PATIENCE, Running, eventually};
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

/// The test's CA and the people's keys lie in the client's root home.
pub(crate) const CA: &str = "/root/ca";
const OPTIONS: [&str; 8] = [
    "-F",
    "none",
    "-oBatchMode=yes",
    "-oIdentitiesOnly=yes",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oKexAlgorithms=curve25519-sha256",
    "-oLogLevel=ERROR",
];

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn host_id() -> HostId {
    HostId::from_random([1; 16])
}

fn cluster() -> ClusterId {
    ClusterId::from_random([2; 16])
}

pub(crate) fn id(number: u8) -> ActivationId {
    ActivationId::from_random([number; 16])
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).unwrap_or(0))
}

/// A grant for alice of logins alone, for so many seconds.
pub(crate) fn grant(number: u8, part: &str, seconds: u32) -> Result<Act> {
    let begin = now();
    Ok(Act::Grant(Box::new(Grant {
        id: id(number),
        revision: 1,
        person: "alice".parse()?,
        login: "alice".parse()?,
        uid: 2000,
        request_digest: Digest::of(b"request"),
        role: "deploy".parse()?,
        role_digest: Digest::of(b"role"),
        not_before: begin.before(Span::MINUTE),
        not_after: begin.after(Span(seconds)),
        duration: Span(seconds),
        warn: vec![],
        sudo: None,
        ssh: Some(serde_json::from_str(part)?),
        factor_at_use: None,
        approvals: vec![],
        lease: None,
        critical: vec!["ssh".into()],
    })))
}

pub(crate) fn end(number: u8) -> Act {
    Act::End(End { id: id(number), revision: 2, cause: EndCause::Revoked })
}

/// The host, its client, and the connection to the agent.
pub(crate) struct Site {
    _lab: Lab,
    pub(crate) client: Host,
    pub(crate) db1: Host,
    pub(crate) sshd: Running,
    agent: Option<Running>,
    link: Option<(UnixStream, VouchReader)>,
    pub(crate) hello: Option<AgentHello>,
    seq: u64,
}

impl Site {
    /// sshd as the distribution has it, the CA trusted, Elevate installed and the host's identity there; not yet set up.
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (client, db1) = (lab.host("client")?, installed_host(&lab, "db1")?);
        for (login, uid) in
            [("alice", 2000), ("deploy", 2100), ("bob", 2001), ("elevate-link", 402), ("elevate-ssh", 403)]
        {
            db1.add_user(login, uid)?;
        }
        for name in [CA, "/root/bob", "/root/alice"] {
            client
                .run("root", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name])?
                .success()?;
        }
        db1.make_dir("/home/bob/.ssh", Access::of(2001, 0o700))?;
        db1.write_as(
            "/home/bob/.ssh/authorized_keys",
            client.read("/root/bob.pub")?,
            Access::of(2001, 0o600),
        )?;
        let config = format!(
            "daemon = \"127.0.0.1:7022\"\nfingerprint = \"SHA256:x\"\nhost = \"{}\"\nname = \"db1\"\ncluster = \"{}\"\nlink_user = \"root\"\n",
            host_id(),
            cluster()
        );
        let signers = TrustedKeys::one(key(7).public_key().clone())?.to_signers()?;
        db1.write("/etc/elevate/agent.toml", config)?;
        db1.write("/etc/elevate/trust/grant_signers", signers)?;
        db1.write("/etc/elevate/trust/user_ca", client.read(format!("{CA}.pub"))?)?;
        let vouch = key(8).to_openssh(LineEnding::LF)?;
        db1.write_as("/etc/elevate/keys/vouch", vouch.as_bytes(), Access::root(0o600))?;
        db1.make_dir("/run/elevate", Access::root(0o755))?;
        db1.make_dir("/var/lib/elevate", Access::root(0o700))?;
        db1.write_as("/var/lib/elevate/position", r#"{"epoch":1,"seq":0}"#, Access::root(0o600))?;
        let sshd = db1.sshd()?;
        Ok(Self { _lab: lab, client, db1, sshd, agent: None, link: None, hello: None, seq: 0 })
    }

    /// The same, set up and with the agent connected.
    pub(crate) fn ready() -> Result<Self> {
        let mut site = Self::new()?;
        let said = site.enroll()?;
        ensure!(said.contains("sshd: certificates of grants open"), "{said}");
        site.start_agent()?;
        Ok(site)
    }

    /// `elevate-agent enroll` on a host that has its identity: it puts its lines in place.
    pub(crate) fn enroll(&self) -> Result<String> {
        self.db1.run("root", ["elevate-agent", "enroll", "--yes", "--no-services"])?.exits(0)
    }

    pub(crate) fn start_agent(&mut self) -> Result<()> {
        let running = self.db1.spawn("root", ["/usr/sbin/elevate-agent", "run"])?;
        running.expect("ready", PATIENCE)?;
        self.agent = Some(running);
        let socket = PathBuf::from(format!("/proc/{}/root/run/elevate/link.sock", self.db1.pid()?));
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let nonce = Nonce::from_random([9; 16]);
        let hello = ToAgent::Hello { versions: Versions::OURS, cluster: cluster(), nonce, time: now() };
        frame::write(&mut stream, &hello)?;
        let keys = TrustedKeys::one(key(8).public_key().clone())?;
        let mut vouches = VouchReader::new(keys, host_id(), nonce);
        let signed: SignedBody = frame::read(&mut stream)?.context("the agent hung up")?;
        let Claim::Hello(hello) = vouches.open(&signed)? else { bail!("no hello") };
        frame::write(&mut stream, &ToAgent::Welcome { version: 1, name: "db1".parse()?, reported: 0 })?;
        (self.link, self.hello) = (Some((stream, vouches)), Some(hello));
        Ok(())
    }

    pub(crate) fn kill_agent(&mut self) -> Result<()> {
        self.link = None;
        self.agent.take().context("no agent runs")?.kill9().map(drop)
    }

    /// Gives the agent the next document; what became of it.
    pub(crate) fn document(&mut self, act: Act) -> Result<Applied> {
        self.seq = self.seq.saturating_add(1);
        let document =
            Document { format: FORMAT, cluster: cluster(), host: host_id(), epoch: 1, seq: self.seq, act };
        let signed = SignedBody::sign(document.to_line()?, &key(7), GRANT_NAMESPACE)?;
        let (stream, _) = self.link.as_mut().context("not connected")?;
        frame::write(stream, &ToAgent::Document(signed))?;
        loop {
            if let Claim::Applied { seq, result } = self.claim()?
                && seq == self.seq
            {
                return Ok(result);
            }
        }
    }

    pub(crate) fn enforced(&mut self, act: Act) -> Result<()> {
        let result = self.document(act)?;
        ensure!(result == Applied::Enforced, "{result:?}");
        Ok(())
    }

    /// What the agent says next. Reports are acknowledged.
    pub(crate) fn claim(&mut self) -> Result<Claim> {
        let (stream, vouches) = self.link.as_mut().context("not connected")?;
        let signed: SignedBody = frame::read(stream)?.context("the agent hung up")?;
        let claim = vouches.open(&signed)?;
        if let Claim::Report { number, .. } = &claim {
            frame::write(stream, &ToAgent::Recorded { number: *number })?;
        }
        Ok(claim)
    }

    /// Reads on until the agent claims this of sshd.
    pub(crate) fn hears(&mut self, what: &str, holds: impl Fn(&SshEnforcement) -> bool) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Claim::Ssh(found) = self.claim()?
                && holds(&found)
            {
                return Ok(());
            }
        }
        bail!("not within {PATIENCE:?}: {what}")
    }

    pub(crate) fn agent_pid(&self) -> Result<String> {
        Ok(self.agent.as_ref().context("no agent runs")?.pid().to_string())
    }

    /// A certificate of the test's CA for alice's key: its file.
    pub(crate) fn certificate(&self, name: &str, key_id: &str, principals: &str) -> Result<String> {
        let mut words = vec!["-s", CA, "-I", key_id, "-V", "-1m:+10m", "-z", "7"];
        if !principals.is_empty() {
            words.extend(["-n", principals]);
        }
        self.signed(name, &words)
    }

    /// A certificate for alice's key, as ssh-keygen(1) makes it when it is told so: its file.
    pub(crate) fn signed(&self, name: &str, words: &[&str]) -> Result<String> {
        let key = format!("/root/{name}");
        if !self.client.exists(&key) {
            self.client.run("root", ["cp", "/root/alice", &key])?.success()?;
        }
        let public = format!("{key}.pub");
        self.client.run("root", ["cp", "/root/alice.pub", &public])?.success()?;
        self.client.run("root", [&["ssh-keygen", "-q"], words, &[public.as_str()]].concat())?.success()?;
        Ok(key)
    }

    /// The certificate of a grant, as the daemon signs it.
    pub(crate) fn of_grant(&self, number: u8) -> Result<String> {
        let id = id(number);
        self.certificate(&format!("g{number}"), &id.to_string(), &format!("elevate:{id}"))
    }

    /// ssh by a key and the certificate beside it.
    pub(crate) fn ssh<'a>(
        &self,
        key: &'a str,
        options: &[&'a str],
        login: &str,
        command: &'a str,
    ) -> Vec<String> {
        let mut argv = vec!["ssh".to_owned()];
        argv.extend(OPTIONS.map(ToOwned::to_owned));
        argv.extend(["-i", key].map(ToOwned::to_owned));
        argv.extend(options.iter().map(ToString::to_string));
        argv.extend([format!("{login}@{}", self.db1.address()), command.to_owned()]);
        argv
    }

    /// Whether `login` can be logged in to; anything but a login or sshd's refusal is an error. An sshd that reads its files anew
    /// listens to nobody for a moment.
    pub(crate) fn opens(&self, key: &str, login: &str) -> Result<bool> {
        let begin = Instant::now();
        loop {
            let ran = self.client.run("root", self.ssh(key, &[], login, "id -un"))?;
            match ran.status.code() {
                Some(0) if ran.stdout.trim() == login => return Ok(true),
                Some(255) if ran.stderr.contains("Permission denied (publickey") => return Ok(false),
                // sshd lets nothing run in a session that PAM has not opened.
                Some(254) if ran.stdout.contains("elevate: ") => return Ok(false),
                Some(255) if ran.stderr.contains("Connection refused") && begin.elapsed() < PATIENCE => {}
                _ => bail!("{ran}"),
            }
        }
    }

    pub(crate) fn wait_closed(&self, key: &str, login: &str, limit: Duration) -> Result<()> {
        eventually(limit, "the account to be closed", || matches!(self.opens(key, login), Ok(false)))
    }
}
