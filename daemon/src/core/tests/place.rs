//! A daemon of its own for each test, people with factors, hosts with agents that obey.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use elevate_audit::Event;
use elevate_policy::Policy;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::Versions;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome};
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::message::enrol::{EnrolAsk, EnrolReply, Enrolled};
use elevate_protocol::message::person::{Ask, Outcome, Reply, RequestAsk, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::ActivationView;
use elevate_protocol::name::{HostWord, Name};
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE};
use elevate_protocol::time::Span;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, PrivateKey};
use tokio::sync::mpsc;
use totp_rs::Totp;
use zeroize::Zeroizing;

pub(super) use super::actors::{Agent, Obedient, Talk};
use crate::clock::Clock;
use crate::core::{Conversation, Core, CoreError, CoreSetup, KeySetup, Speaker};
use crate::signer::Signer;

/// A divisible start, so that steps of 30 s are whole.
pub(super) const START: i64 = 1_800_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const POLICY: &str = r#"
[people]
alice = {}
bob = {}
carol = {}
dave = {}
mallory = {}

[groups]
leads = ["bob", "carol", "alice"]

[roles.web-ops]
title = "Run the web tier"
who = ["alice"]
hosts = { tier = "web" }
sudo = { as = "root", run = [["/usr/bin/systemctl", "restart", "nginx.service"]] }
duration = "1h"
max = "2h"

[roles.dba]
who = ["alice"]
hosts = { tier = "db" }
sudo = { as = "postgres", shell = true }
approve = [{ need = 2, of = ["@leads", "dave"], within = "24h" }]
"#;

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// The key of a person of [`POLICY`].
pub(super) fn persons_key(who: &str) -> PrivateKey {
    key(who.as_bytes()[0] + 100)
}

/// The policy with everybody's key in it.
pub(super) fn with_keys(text: &str) -> String {
    ["alice", "bob", "carol", "dave", "mallory"].iter().fold(text.to_owned(), |text, who| {
        let line = persons_key(who).public_key().to_openssh().unwrap();
        text.replace(&format!("\n{who} = {{}}\n"), &format!("\n{who} = {{ keys = [{line:?}] }}\n"))
    })
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn word(text: &str) -> HostWord {
    text.parse().unwrap()
}

pub(super) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Clock,
    pub(super) core: Core,
    totps: Mutex<BTreeMap<String, Totp>>,
}

pub(super) async fn open(folder: &std::path::Path, clock: &Clock) -> Result<Core, CoreError> {
    open_with(folder, clock, None).await
}

pub(super) async fn open_with(
    folder: &std::path::Path,
    clock: &Clock,
    agent: Option<Signer>,
) -> Result<Core, CoreError> {
    open_keys(folder, clock, grant_keys(folder, agent)).await
}

pub(super) async fn open_keys(
    folder: &std::path::Path,
    clock: &Clock,
    keys: KeySetup,
) -> Result<Core, CoreError> {
    let policy_dir = folder.join("policy.d");
    let setup = CoreSetup {
        data_dir: folder.to_owned(),
        keys,
        seal_key: Zeroizing::new([9; 32]),
        policy: crate::core::read_policy(&policy_dir).unwrap(),
        policy_dir,
        advertised: "daemon.example:7022".into(),
        fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
        clock: clock.clone(),
    };
    Core::open(setup).await
}

/// A folder of keys with this one in it; the key of an earlier start stays.
pub(super) fn grant_keys(folder: &std::path::Path, agent: Option<Signer>) -> KeySetup {
    let keys = folder.join("keys");
    if std::fs::create_dir(&keys).is_ok() {
        crate::keys::write_signing(&keys.join(crate::keys::GRANT_FILE), &key(1)).unwrap();
    }
    KeySetup { folder: keys, owner: crate::keys::own_uid(), agent, user_ca: None, host_ca: None }
}

impl Place {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("policy.d")).unwrap();
        std::fs::write(folder.path().join("policy.d/main.toml"), with_keys(POLICY)).unwrap();
        let clock = Clock::manual(START);
        let core = open(folder.path(), &clock).await.unwrap();
        Self { folder, clock, core, totps: Mutex::default() }
    }

    /// As if the daemon had been killed and started.
    pub(super) async fn restart(&mut self) {
        self.core.close().await;
        self.core = open(self.folder.path(), &self.clock).await.unwrap();
    }

    pub(super) fn write_policy(&self, text: &str) -> Policy {
        let file = self.folder.path().join("policy.d/main.toml");
        let text = with_keys(text);
        std::fs::write(&file, &text).unwrap();
        Policy::parse(&[("main.toml".into(), text)]).unwrap()
    }

    pub(super) fn person(&self, who: &str) -> Speaker {
        let key = persons_key(who).public_key().fingerprint(HashAlg::Sha256).to_string();
        Speaker::Person { name: name(who), key, address: "10.1.2.3".parse().unwrap() }
    }

    /// Begins a conversation as a door does.
    pub(super) fn talk(&self, speaker: Speaker, ask: Ask) -> Talk {
        let (say, heard) = mpsc::channel(8);
        let (reply, replies) = mpsc::channel(8);
        // Before the core sees it: one that is refused at once hears nothing.
        say.try_send(Say::Ask(ask)).unwrap();
        let core = self.core.clone();
        tokio::spawn(async move { core.converse(Conversation { speaker, say: heard, reply }).await });
        Talk { say, replies }
    }

    /// Asks without a factor.
    pub(super) async fn ask(&self, who: &str, ask: Ask) -> Result<Outcome, Refusal> {
        self.talk(self.person(who), ask).end().await
    }

    /// Asks and gives the right code to every challenge.
    pub(super) async fn ask_with_code(&self, who: &str, ask: Ask) -> Result<Outcome, Refusal> {
        let mut talk = self.talk(self.person(who), ask);
        loop {
            match talk.next().await {
                Reply::Challenge(challenge) => {
                    let code = self.code(who);
                    talk.answer(challenge.id, &code).await;
                }
                Reply::Done(outcome) => return Ok(outcome),
                Reply::Refused(refusal) => return Err(refusal),
                Reply::Verdict { .. } | Reply::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn admin(&self, ask: AdminAsk) -> AdminOutcome {
        match self.talk(Speaker::Root { uid: 0 }, Ask::Admin(ask)).end().await {
            Ok(Outcome::Admin(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn token(&self, ask: AdminAsk) -> Secret {
        let AdminOutcome::Paste { line, .. } = self.admin(ask).await else { panic!("no paste string") };
        line.expose().parse::<Paste>().unwrap().token.unwrap()
    }

    /// Enrols a factor the way people do.
    pub(super) async fn factor(&self, who: &str) {
        let invitation = self.token(AdminAsk::PersonInvite { person: name(who), valid: None }).await;
        let mut talk = self.talk(self.person(who), Ask::FactorAdd { invitation });
        let Reply::Seed { uri } = talk.next().await else { panic!("no seed") };
        let totp = Totp::from_url(uri.expose()).unwrap();
        let Reply::Challenge(challenge) = talk.next().await else { panic!("no challenge") };
        let code = self.code_of(&totp);
        talk.answer(challenge.id, &code).await;
        assert!(matches!(talk.next().await, Reply::Verdict { accepted: true, .. }));
        assert!(matches!(talk.next().await, Reply::Done(Outcome::Ok)));
        self.totps.lock().unwrap().insert(who.into(), totp);
    }

    fn code_of(&self, totp: &Totp) -> String {
        totp.generate(u64::try_from(self.clock.now().0).unwrap()).to_string()
    }

    /// The next code of a person: the clock goes on to the next step, so that it was never used.
    pub(super) fn code(&self, who: &str) -> String {
        self.clock.advance(30);
        self.same_code(who)
    }

    /// The code of this step.
    pub(super) fn same_code(&self, who: &str) -> String {
        self.code_of(&self.totps.lock().unwrap()[who])
    }

    /// A code that is none of the three that count at this time.
    pub(super) fn wrong_code(&self, who: &str) -> String {
        let now = u64::try_from(self.clock.now().0).unwrap();
        let totps = self.totps.lock().unwrap();
        let right: Vec<String> =
            [now - 30, now, now + 30].iter().map(|at| totps[who].generate(*at).to_string()).collect();
        (0..4).map(|n| format!("{n:06}")).find(|code| !right.contains(code)).unwrap()
    }

    pub(super) async fn events(&self) -> Vec<Event> {
        let read = self.core.events().read(0, 10_000).await.unwrap();
        read.into_iter().map(|one| one.event).collect()
    }

    pub(super) async fn count(&self, code: &str) -> usize {
        self.events().await.iter().filter(|event| event.kind.code() == code).count()
    }

    /// Waits until there are so many events of a code.
    pub(super) async fn event(&self, code: &str, many: usize) {
        let mut reader = self.core.events();
        soon(code, async {
            while self.count(code).await < many {
                let head = reader.head();
                if self.count(code).await < many {
                    reader.wait_for(head).await;
                }
            }
        })
        .await;
    }

    pub(super) async fn invite_host(&self, host: &str, tier: &str) -> Secret {
        let labels = BTreeMap::from([(name("tier"), name(tier))]);
        self.token(AdminAsk::HostInvite { name: name(host), labels, names: vec![], valid: None }).await
    }

    pub(super) async fn enrol_with(&self, token: Secret, seed: u8) -> EnrolReply {
        let (link, vouch) = (key(seed), key(seed + 100));
        let proof = SignedBody::sign(token.expose().to_owned(), &vouch, VOUCH_NAMESPACE).unwrap();
        let ask = EnrolAsk {
            versions: Versions::OURS,
            token,
            link_key: link.public_key().to_openssh().unwrap(),
            vouch_key: vouch.public_key().to_openssh().unwrap(),
            vouch_proof: proof.signature,
        };
        self.core.enrol(ask, link.public_key(), "10.0.0.9".parse().unwrap()).await
    }

    pub(super) async fn enrol(&self, host: &str, tier: &str, seed: u8) -> Enrolled {
        let token = self.invite_host(host, tier).await;
        match self.enrol_with(token, seed).await {
            EnrolReply::Enrolled(enrolled) => enrolled,
            EnrolReply::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    /// A connected agent that does not do anything by itself yet.
    pub(super) async fn agent(&self, enrolled: &Enrolled, seed: u8) -> Agent {
        let (claims, heard) = mpsc::channel(64);
        let (out, said) = mpsc::channel(64);
        let (core, host) = (self.core.clone(), enrolled.host);
        tokio::spawn(async move { core.serve_agent(host, "10.0.0.9".parse().unwrap(), heard, out).await });
        let mut agent = Agent {
            host,
            vouch: key(seed + 100),
            trust: TrustedKeys::from_signers(&enrolled.grant_signers).unwrap(),
            claims,
            said,
            nonce: Nonce::from_random([0; 16]),
            count: 0,
            seq: 0,
            head: None,
            clock: self.clock.clone(),
        };
        let ToAgent::Hello { nonce, .. } = agent.next().await else { panic!("no hello") };
        agent.nonce = nonce;
        agent
    }

    /// An agent that applies everything and says so.
    pub(super) async fn obedient(&self, enrolled: &Enrolled, seed: u8) -> Obedient {
        let mut agent = self.agent(enrolled, seed).await;
        agent.hello(0).await;
        let applied = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&applied);
        let (stop, stopped) = mpsc::channel::<()>(1);
        let (calls, called) = mpsc::channel(8);
        let (replies, replied) = mpsc::channel(64);
        tokio::spawn(agent.obey(told, stopped, called, replies));
        Obedient { applied, _stop: stop, calls, replied }
    }
}

pub(super) fn wanted(role: &str, wait: bool) -> RequestAsk {
    RequestAsk {
        role: name(role),
        hosts: vec![],
        duration: None,
        reason: "INC-4211 nginx hangs".parse().ok(),
        ticket: None,
        wait,
        dry_run: false,
        amends: None,
    }
}

pub(super) fn request(role: &str) -> Ask {
    Ask::Request(wanted(role, false))
}

pub(super) fn waiting(role: &str) -> Ask {
    Ask::Request(wanted(role, true))
}

pub(super) fn view(outcome: Outcome) -> ActivationView {
    match outcome {
        Outcome::Activation(view) => *view,
        other => panic!("{other:?}"),
    }
}

pub(super) fn code_of<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.unwrap_err().code
}

pub(super) fn span(text: &str) -> Span {
    text.parse().unwrap()
}
