//! Checks who answers: the pinned key and nothing else, before any key of the person is shown.
//!
//! In: the server's host key, the negotiated algorithms. Out: go on, or why not. Threat H06.

use russh::client;
use russh::keys::{HashAlg, PublicKeyOrCertificate};

use super::{DoorError, Server};

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    server: Server,
}

impl Peer {
    pub(super) fn new(server: &Server) -> Self {
        Self { server: server.clone() }
    }
}

impl client::Handler for Peer {
    type Error = DoorError;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, DoorError> {
        let found = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            // None was offered as acceptable: a certificate is nothing that was pinned.
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        if found == self.server.fingerprint {
            return Ok(true);
        }
        Err(DoorError::HostKey {
            address: self.server.address.clone(),
            pinned: self.server.fingerprint.clone(),
            found,
        })
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut client::Session,
    ) -> Result<(), DoorError> {
        if names.strict_kex() {
            Ok(())
        } else {
            Err(DoorError::NotStrict { address: self.server.address.clone() })
        }
    }
}
