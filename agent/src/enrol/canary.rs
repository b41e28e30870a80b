//! The proof: that root, an ordinary sudo rule and a managed rule behave as promised, tried with the real sudo.
//!
//! In: an account without rights. Out: nothing, when everything is as promised. Each rule of a canary allows one harmless
//! command (`true`, `id -u`) for moments; the key that signs its grant exists in this process's memory only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use elevate_protocol::deadlines::Deadlines;
use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, BACKDATE, Document, FORMAT, Grant};
use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use elevate_protocol::name::Name;
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, SignedGrant, TrustedKeys};
use elevate_protocol::sudo::{Command, SudoPart};
use elevate_protocol::text::escape;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::PrivateKey;

use crate::child::{Answer, ChildError};
use crate::clock;
use crate::enforce::render;
use crate::flavour::Dialect;
use crate::paths::Paths;
use crate::probe;

use super::changes::{ChangeError, Changes};
use super::checks::Site;
use super::program::{self, As};
use super::{leftovers, rs_lines};

/// Name of the ordinary rule among sudo's drop-ins.
pub(crate) const RULE: &str = "zz-elevate-canary";
/// How long sudo may take; sudo built with fqdn may ask DNS for 12 s.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the canary's grant lives.
const LIFE: Span = Span(120);

/// What is not as promised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CanaryError {
    /// sudo did not answer.
    #[error("sudo did not answer")]
    Run {
        /// Why.
        source: ChildError,
    },
    /// It did not work before either.
    #[error(
        "{what} does not work on this host even before anything is changed, so nothing can be proved; sudo says: {said}"
    )]
    Before {
        /// What.
        what: &'static str,
        /// What sudo said.
        said: String,
    },
    /// It worked before and does not any more.
    #[error("{what} would no longer work; sudo says: {said}")]
    After {
        /// What.
        what: &'static str,
        /// What sudo said.
        said: String,
    },
    /// The gate is not there.
    #[error("a managed rule without a grant was not refused by the gate (sudo ended with {code:?}: {said})")]
    NotGated {
        /// sudo's exit code.
        code: Option<i32>,
        /// What it said.
        said: String,
    },
    /// The gate refused and left the rule.
    #[error("the gate did not remove a managed rule without a grant")]
    RuleStays,
    /// The canary's files.
    #[error("the rules to try cannot be put in place")]
    Files {
        /// Why.
        source: ChangeError,
    },
    /// The canary's grant.
    #[error("the grant to try cannot be made")]
    Grant,
    /// A program to run.
    #[error("there is no {name} on this host to try a rule with")]
    NoProgram {
        /// Its name.
        name: &'static str,
    },
}

/// The canaries of one enrolment.
#[derive(Debug)]
pub(crate) struct Canaries<'a> {
    paths: &'a Paths,
    site: &'a Site,
    /// A command that an ordinary rule allows.
    ordinary: PathBuf,
    /// A command that a managed rule allows, with `-u`.
    managed: PathBuf,
    /// Whether `sudo -i` of root works at all.
    root_shell: bool,
}

/// What a canary grant needs: whose signature, and which host the gate takes this for.
pub(crate) struct Signer<'a> {
    /// A key that the signers file names for the moment.
    pub(crate) key: &'a PrivateKey,
    /// The id in agent.toml.
    pub(crate) host: HostId,
    /// The grant's id.
    pub(crate) id: ActivationId,
    /// The wall clock.
    pub(crate) now: Timestamp,
}

fn said(answer: &Answer) -> String {
    escape(answer.stderr.trim())
}

impl<'a> Canaries<'a> {
    /// Tries everything before anything is changed. The ordinary rule stays until [`Canaries::after`].
    ///
    /// # Errors
    /// [`CanaryError::Before`] when nothing could be proved here.
    pub(crate) fn before(
        paths: &'a Paths,
        site: &'a Site,
        changes: &mut Changes,
    ) -> Result<Self, CanaryError> {
        let find = |name: &'static str| Paths::program(name).ok_or(CanaryError::NoProgram { name });
        let mut canaries =
            Self { paths, site, ordinary: find("true")?, managed: find("id")?, root_shell: false };
        let rule =
            format!("#{} ALL=(root) NOPASSWD: {} \"\"\n", site.canary.uid, canaries.ordinary.display());
        canaries.put_rule(&rule, changes).map_err(|source| CanaryError::Files { source })?;
        for (what, answer) in
            [("root's own sudo", canaries.root()?), ("an ordinary sudo rule", canaries.ordinary()?)]
        {
            if answer.code != Some(0) {
                return Err(CanaryError::Before { what, said: said(&answer) });
            }
        }
        canaries.root_shell = canaries.root_shell()?.code == Some(0);
        Ok(canaries)
    }

    /// Tries everything again, and the gate, with our lines in place.
    ///
    /// # Errors
    /// A [`CanaryError`] that says what is not as promised.
    pub(crate) fn after(&self, signer: &Signer<'_>, changes: &mut Changes) -> Result<(), CanaryError> {
        self.unmanaged()?;
        self.remove_rule(changes).map_err(|source| CanaryError::Files { source })?;
        let managed = self.try_managed(signer, changes);
        // Whatever came of it: what the canary was given goes before anything else is done.
        let cleared = self.clear();
        managed.and(cleared)
    }

    /// Tries only that root and the ordinary rule are as they were: where an agent lives, the gate guards real grants.
    ///
    /// # Errors
    /// [`CanaryError::After`].
    pub(crate) fn unmanaged_after(&self, changes: &mut Changes) -> Result<(), CanaryError> {
        self.unmanaged()?;
        self.remove_rule(changes).map_err(|source| CanaryError::Files { source })
    }

    /// Tries that root and the ordinary rule are as they were.
    ///
    /// # Errors
    /// [`CanaryError::After`].
    fn unmanaged(&self) -> Result<(), CanaryError> {
        let mut tried = vec![("root's own sudo", self.root()?), ("an ordinary sudo rule", self.ordinary()?)];
        if self.root_shell {
            tried.push(("root's own sudo -i", self.root_shell()?));
        }
        match tried.into_iter().find(|(_, answer)| answer.code != Some(0)) {
            Some((what, answer)) => Err(CanaryError::After { what, said: said(&answer) }),
            None => Ok(()),
        }
    }

    fn try_managed(&self, signer: &Signer<'_>, changes: &mut Changes) -> Result<(), CanaryError> {
        let (grant, dropin) = self.grant(signer)?;
        let mut put = |path: &Path, text: &str, mode| {
            changes.write(path, text, mode).map_err(|source| CanaryError::Files { source })
        };
        // A rule whose grant is missing.
        put(&self.dropin(), &dropin, 0o440)?;
        let answer = self.managed()?;
        // sudo-rs speaks to a terminal only, and here is none: there it is the rule's going that proves the gate.
        let told = match self.site.dialect {
            Dialect::Classic => answer.stderr.contains("elevate: grant ended"),
            Dialect::Rs => true,
        };
        if answer.code == Some(0) || !told {
            return Err(CanaryError::NotGated { code: answer.code, said: said(&answer) });
        }
        if fs::symlink_metadata(self.dropin()).is_ok() {
            return Err(CanaryError::RuleStays);
        }
        // The same rule with its grant.
        put(&self.grants().join(format!("{}.grant", signer.id)), &grant.to_text(), 0o400)?;
        put(&self.paths.deadlines, &deadlines(signer.id), 0o600)?;
        put(&self.dropin(), &dropin, 0o440)?;
        let answer = self.managed()?;
        if answer.code == Some(0) && answer.stdout == "0\n" {
            return Ok(());
        }
        Err(CanaryError::After { what: "a managed rule with a valid grant", said: said(&answer) })
    }

    /// A real grant and the drop-in that the agent would render from it.
    fn grant(&self, signer: &Signer<'_>) -> Result<(SignedGrant, String), CanaryError> {
        let broken = || CanaryError::Grant;
        let name = |text: &str| text.parse::<Name>().map_err(|_| CanaryError::Grant);
        let argv = vec![self.managed.display().to_string(), "-u".to_owned()];
        let command = Command::try_from(argv).map_err(|_| broken())?;
        let grant = Grant {
            id: signer.id,
            revision: 1,
            person: name("canary")?,
            login: name(super::checks::CANARY_ACCOUNT)?.into(),
            uid: self.site.canary.uid,
            request_digest: Digest::of(b"canary"),
            role: name("canary")?,
            role_digest: Digest::of(b"canary"),
            not_before: signer.now.before(BACKDATE),
            not_after: signer.now.after(LIFE),
            duration: LIFE,
            warn: Vec::new(),
            sudo: Some(SudoPart::only(name("root")?, vec![command], Vec::new()).map_err(|_| broken())?),
            ssh: None,
            factor_at_use: None,
            approvals: Vec::new(),
            lease: None,
            critical: vec!["sudo".to_owned()],
        };
        let cluster = ClusterId::from_random([0; 16]);
        let document = Document {
            format: FORMAT,
            cluster,
            host: signer.host,
            epoch: 0,
            seq: 1,
            act: Act::Grant(Box::new(grant)),
        };
        let line = document.to_line().map_err(|_| broken())?;
        let signed =
            SignedGrant::new(SignedBody::sign(line, signer.key, GRANT_NAMESPACE).map_err(|_| broken())?);
        let keys = TrustedKeys::one(signer.key.public_key().clone()).map_err(|_| broken())?;
        let verified = signed.verify(&keys, &signer.host).map_err(|_| broken())?;
        let live = verified.live(signer.now).map_err(|_| broken())?;
        let dropin =
            render::drop_in(self.site.dialect, self.site.canary.uid, &[live]).map_err(|_| broken())?;
        Ok((signed, dropin))
    }

    /// Removes what the canary was given; what is not there is fine.
    fn clear(&self) -> Result<(), CanaryError> {
        clear(self.paths, self.site.canary.uid).map_err(|source| CanaryError::Files { source })
    }

    /// Puts the ordinary rule where the installed sudo reads.
    fn put_rule(&self, rule: &str, changes: &mut Changes) -> Result<(), ChangeError> {
        let place = probe::include_place(self.paths, self.site.dialect);
        if place == self.paths.sudoers_rs {
            return rs_lines::put(place, rule, changes);
        }
        changes.write(&self.paths.include.with_file_name(RULE), rule, 0o440)
    }

    /// Takes it out again; our include line stays.
    fn remove_rule(&self, changes: &mut Changes) -> Result<(), ChangeError> {
        let place = probe::include_place(self.paths, self.site.dialect);
        if place == self.paths.sudoers_rs {
            return rs_lines::put(place, &leftovers::include_text(), changes);
        }
        changes.remove(&self.paths.include.with_file_name(RULE))
    }

    fn dropin(&self) -> PathBuf {
        self.paths.sudoers.join(format!("u{}", self.site.canary.uid))
    }

    /// The folder of the canary's grant.
    pub(crate) fn grants(&self) -> PathBuf {
        self.paths.grants.join(format!("u{}", self.site.canary.uid))
    }

    fn root(&self) -> Result<Answer, CanaryError> {
        self.sudo(&[], &self.ordinary, &[], As::ROOT)
    }

    fn root_shell(&self) -> Result<Answer, CanaryError> {
        self.sudo(&["-i"], &self.ordinary, &[], As::ROOT)
    }

    fn ordinary(&self) -> Result<Answer, CanaryError> {
        self.sudo(&[], &self.ordinary, &[], self.site.canary)
    }

    fn managed(&self) -> Result<Answer, CanaryError> {
        self.sudo(&[], &self.managed, &["-u"], self.site.canary)
    }

    fn sudo(
        &self,
        options: &[&str],
        program: &Path,
        rest: &[&str],
        account: As,
    ) -> Result<Answer, CanaryError> {
        let program = program.display().to_string();
        let arguments: Vec<&str> = ["-n"]
            .into_iter()
            .chain(options.iter().copied())
            .chain([program.as_str()])
            .chain(rest.iter().copied())
            .collect();
        program::run(&self.site.sudo, &arguments, account, "", DEADLINE)
            .map_err(|source| CanaryError::Run { source })
    }
}

/// The canary's end on CLOCK_BOOTTIME, as an agent writes it; none runs on this host yet.
fn deadlines(id: ActivationId) -> String {
    let ends = clock::read().boot.after(LIFE);
    let deadlines = Deadlines { contact: None, ends: [(id, ends.0)].into() };
    serde_json::to_string(&deadlines).unwrap_or_default()
}

/// Removes every rule and grant of the canary account, where no agent lives.
///
/// # Errors
/// [`ChangeError`] of the first that stays.
pub(crate) fn clear(paths: &Paths, uid: u32) -> Result<(), ChangeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ChangeError::Io { what: "remove", path, source }
    };
    let dropin = paths.sudoers.join(format!("u{uid}"));
    let grants = paths.grants.join(format!("u{uid}"));
    let deadlines = &paths.deadlines;
    for (path, removed) in [
        (&dropin, fs::remove_file(&dropin)),
        (&grants, fs::remove_dir_all(&grants)),
        (deadlines, fs::remove_file(deadlines)),
    ] {
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
