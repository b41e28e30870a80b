//! One SSH connection: who it is, and which subsystem it gets. No shell, exec, pty, environment, forwarding.
//!
//! In: russh's callbacks. Out: conversations on authenticated channels. Who it is is decided in `auth_publickey` only, after
//! the signature was verified; the user name says nothing but "I am new" (threat H05; CVE-2023-43660, CVE-2026-46705).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use elevate_protocol::id::HostId;
use elevate_protocol::message::{SUBSYSTEM_AGENT, SUBSYSTEM_ENROL, SUBSYSTEM_PERSON};
use elevate_protocol::name::Name;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use ssh_key::{Algorithm, HashAlg, PublicKey};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::algorithms::key_is_allowed;
use super::{Shared, Switch, crowd};
use crate::core::{Holder, Speaker};
use crate::intake::counter::Seat;
use crate::intake::frames::PumpError;
use crate::intake::{agent, enrol, person};
use crate::log;

/// Keys that one connection may ask about.
const OFFERS_MAX: u32 = 24;
/// Channels of a person's connection.
const CHANNELS_MAX: usize = 16;

/// Who was proven to be at the other end.
enum Who {
    Person {
        name: Name,
        key: String,
        _seat: Seat<Name>,
    },
    Host {
        id: HostId,
        _seat: Seat<HostId>,
    },
    /// Holds this key, and says to be new. Everybody can say that, so the seat of the unauthenticated is kept (threat H09).
    New {
        key: Box<PublicKey>,
        seat: Option<crowd::Seat>,
    },
}

/// A channel: with a subsystem already, or still without. A person's has a seat among all that the person has.
enum State {
    Open(Channel<Msg>, Option<Seat<Name>>),
    Taken(AbortHandle),
}

impl State {
    /// russh tells of no close by the other side where this one closed first.
    fn is_over(&self) -> bool {
        match self {
            Self::Open(..) => false,
            Self::Taken(conversation) => conversation.is_finished(),
        }
    }
}

/// The callbacks of one connection.
pub(crate) struct Door {
    shared: Arc<Shared>,
    from: IpAddr,
    login: Option<(oneshot::Sender<()>, crowd::Seat)>,
    work: Arc<watch::Sender<usize>>,
    switch: Arc<Switch>,
    offers: u32,
    who: Option<Who>,
    channels: HashMap<ChannelId, State>,
}

/// Counts a conversation as going on until it is dropped, also by a panic.
struct Working(Arc<watch::Sender<usize>>);

impl Working {
    fn on(work: &Arc<watch::Sender<usize>>) -> Self {
        work.send_modify(|running| *running = running.saturating_add(1));
        Self(Arc::clone(work))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

impl Door {
    /// `login` is told of the authentication, which also gives the seat of the unauthenticated back.
    pub(crate) fn new(
        shared: Arc<Shared>,
        from: IpAddr,
        login: (oneshot::Sender<()>, crowd::Seat),
        (work, switch): (watch::Sender<usize>, Arc<Switch>),
    ) -> Self {
        let work = Arc::new(work);
        Self {
            shared,
            from,
            login: Some(login),
            work,
            switch,
            offers: 0,
            who: None,
            channels: HashMap::new(),
        }
    }

    /// Whoever would be let in with this key; none: nobody. Whether the key was proven is the caller's to know.
    fn holder(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Holder> {
        if !key_is_allowed(key, algorithm) {
            return None;
        }
        if user == SUBSYSTEM_ENROL {
            return Some(Holder::Nobody);
        }
        match self.shared.core.holder(key) {
            Holder::Nobody => None,
            known @ (Holder::Person(_) | Holder::Host(_)) => Some(known),
        }
    }

    fn enter(&self, holder: Holder, key: &PublicKey) -> Option<Who> {
        match holder {
            Holder::Person(name) => {
                let Some(seat) = self.shared.people.take(name.clone()) else {
                    log::warning(&format!("{}: too many connections of {name}", self.from));
                    return None;
                };
                let key = key.fingerprint(HashAlg::Sha256).to_string();
                Some(Who::Person { name, key, _seat: seat })
            }
            Holder::Host(id) => {
                let Some(seat) = self.shared.hosts.take(id) else {
                    log::warning(&format!("{}: too many connections of host {id}", self.from));
                    return None;
                };
                Some(Who::Host { id, _seat: seat })
            }
            Holder::Nobody => Some(Who::New { key: Box::new(key.clone()), seat: None }),
        }
    }

    fn channels_allowed(&self) -> usize {
        match self.who {
            Some(Who::Person { .. }) => CHANNELS_MAX,
            Some(Who::Host { .. } | Who::New { .. }) => 1,
            None => 0,
        }
    }

    /// Starts the subsystem on a channel, if this one may have it.
    fn start(&mut self, id: ChannelId, name: &str) -> bool {
        let Some(who) = &self.who else { return false };
        let fits = match who {
            Who::Person { .. } => name == SUBSYSTEM_PERSON,
            Who::Host { .. } => name == SUBSYSTEM_AGENT,
            Who::New { .. } => name == SUBSYSTEM_ENROL,
        };
        if !fits || !matches!(self.channels.get(&id), Some(State::Open(..))) {
            return false;
        }
        let Some(State::Open(channel, seat)) = self.channels.remove(&id) else { return false };
        let (core, from, patience) = (self.shared.core.clone(), self.from, self.shared.patience);
        let stream = channel.into_stream();
        let conversation = match who {
            Who::Person { name, key, .. } => {
                let speaker = Speaker::Person { name: name.clone(), key: key.clone(), address: from };
                self.spawn(person::serve(core, speaker, stream, patience), seat)
            }
            Who::Host { id, .. } => self.spawn(agent::serve(core, *id, from, stream, patience), seat),
            Who::New { key, .. } => {
                self.spawn(enrol::serve(core, (**key).clone(), from, stream, patience), seat)
            }
        };
        self.channels.insert(id, State::Taken(conversation));
        true
    }

    fn spawn(
        &self,
        conversation: impl Future<Output = Result<(), PumpError>> + Send + 'static,
        seat: Option<Seat<Name>>,
    ) -> AbortHandle {
        let working = Working::on(&self.work);
        let (switch, from) = (Arc::clone(&self.switch), self.from);
        let conversation = tokio::spawn(async move {
            let ended = conversation.await;
            drop((working, seat));
            if let Err(error) = ended {
                log::debug(&format!("{from}: {}", log::chain(&error)));
                // Whoever breaks one conversation loses all of that connection (threat B06).
                switch.cut();
            }
        });
        conversation.abort_handle()
    }

    fn refuse(id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(id)?;
        session.close(id)
    }
}

impl Handler for Door {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        self.offers = self.offers.saturating_add(1);
        if self.offers > OFFERS_MAX {
            return Err(russh::Error::Disconnect);
        }
        // Spares the client a signature, so that it goes on to its next key. It lets nobody in.
        Ok(match self.holder(user, offer.public_key, offer.algorithm) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let holder = self.holder(user, key.public_key, key.algorithm);
        let Some(who) = holder.and_then(|holder| self.enter(holder, key.public_key)) else {
            return Ok(Auth::reject());
        };
        self.who = Some(who);
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), russh::Error> {
        if let Some((login, seat)) = self.login.take() {
            match &mut self.who {
                Some(Who::New { seat: kept, .. }) => *kept = Some(seat),
                Some(Who::Person { .. } | Who::Host { .. }) | None => drop(seat),
            }
            // An error: nobody waits any more, the connection is being cut.
            let _told: Result<(), ()> = login.send(());
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.retain(|_, state| !state.is_over());
        let seat = match &self.who {
            Some(Who::Person { name, .. }) => self.shared.talks.take(name.clone()).map(Some),
            Some(Who::Host { .. } | Who::New { .. }) | None => Some(None),
        };
        let Some(seat) = seat.filter(|_| self.channels.len() < self.channels_allowed()) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        self.channels.insert(channel.id(), State::Open(channel, seat));
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(self.channels.remove(&channel));
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.start(channel, name) {
            session.channel_success(channel)
        } else {
            Self::refuse(channel, session)
        }
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        Self::refuse(id, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        Self::refuse(id, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        // ssh(1) sends LANG of its own accord; refused without ending the channel.
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}
