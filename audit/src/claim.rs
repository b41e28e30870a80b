//! What hosts claim: the kinds of events that an agent's reports become.
//!
//! In: the other kinds, from `kind.rs`. Out: the whole list, to [`kinds`](crate::define). Each has `number`, which counts up over the
//! host's life, and `host_time`, by its clock. Spec: docs/events.md.

macro_rules! and_what_hosts_claim {
    ($($others:tt)*) => { kinds! { $($others)*

    /// The host claims that its root has said that the new epoch is right.
    "host.epoch-confirmed" Warning HostEpochConfirmed { number: u64, host_time: Timestamp, epoch: u32 }
    /// The host claims that reports had no room while the daemon was away, and are lost.
    "host.reports-lost" Warning HostReportsLost {
        number: u64, host_time: Timestamp,
        /// How many.
        count: u64,
        /// The numbers of the first and the last of them.
        first: u64, last: u64,
    }
    /// The host claims that its wall clock was set while its agent ran.
    "host.clock-step" Warning HostClockStep {
        number: u64, host_time: Timestamp,
        /// Seconds that it jumped; back when negative.
        by: i64,
    }
    /// The host claims that a right was used.
    "host.used" Notice HostUsed {
        number: u64, host_time: Timestamp,
        /// Every grant that the person had then.
        grants: Vec<ActivationId>,
        /// How.
        used: Used,
    }
    /// The host claims that a person was warned of a near end.
    "host.warned" Info HostWarned {
        number: u64, host_time: Timestamp,
        /// Time left.
        left: Span,
    }
    /// The host claims that a grant's rights were removed.
    "host.ended" Notice HostEnded { number: u64, host_time: Timestamp, cause: EndCause }
    /// The host claims that its PAM gate closed.
    "host.gate-closed" Warning HostGateClosed {
        number: u64, host_time: Timestamp,
        /// Whose drop-in.
        uid: u32,
        why: UntrustedText,
    }
    /// The host claims that a use was refused for want of the second factor.
    "host.use-refused" Warning HostUseRefused {
        number: u64, host_time: Timestamp,
        /// Every grant that the person had then.
        grants: Vec<ActivationId>,
        /// Whose.
        uid: u32,
        why: UntrustedText,
    }
    /// The host claims that somebody logged in by a certificate of a grant.
    "host.ssh-login" Notice HostSshLogin {
        number: u64, host_time: Timestamp,
        /// Where, from where, by which certificate.
        connection: SshConnection,
    }
    /// The host claims that such a connection is over, or that what it had left running was ended.
    "host.ssh-logout" Notice HostSshLogout {
        number: u64, host_time: Timestamp,
        /// The same as at its login.
        connection: SshConnection,
        /// By whom.
        end: SshEnd,
    }
    /// The host claims that a login by a certificate was refused.
    "host.ssh-refused" Warning HostSshRefused {
        number: u64, host_time: Timestamp,
        /// The account on the host.
        login: UntrustedText,
        /// Where it came from.
        from: Option<UntrustedText>,
        why: UntrustedText,
    }
    /// The host claims that something was not as it should be.
    "host.tampered" Alert HostTampered {
        number: u64, host_time: Timestamp,
        /// What, and what was done.
        what: UntrustedText,
    }
    /// The host claims that its agent started.
    "host.started" Info HostStarted {
        number: u64, host_time: Timestamp,
        /// The agent's version.
        agent: UntrustedText,
        /// Grants in force after the start.
        grants: u32,
    }

    } };
}
