//! The accounts that people have on hosts.
//!
//! In: what each host said of the logins that it was asked about. Out: uids. No row: no such account, or not said yet.

use std::collections::BTreeMap;

use elevate_protocol::id::HostId;
use elevate_protocol::name::Login;

use super::row::Row;
use super::{StoreError, Tx};

impl Tx {
    /// What is known of a host's accounts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn accounts(&mut self, id: HostId) -> Result<BTreeMap<Login, u32>, StoreError> {
        let rows = sqlx::query("SELECT login, uid FROM accounts WHERE host = $1")
            .bind(id.to_string())
            .fetch_all(self.ready().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Row("accounts", row);
                Ok((row.parsed("login")?, row.number("uid")?))
            })
            .collect()
    }

    /// Replaces what is known of a host's accounts.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_accounts(
        &mut self,
        id: HostId,
        uids: &BTreeMap<Login, u32>,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM accounts WHERE host = $1")
            .bind(id.to_string())
            .execute(self.ready().await?)
            .await?;
        for (login, uid) in uids {
            self.set_account(id, login, *uid).await?;
        }
        Ok(())
    }

    /// Notes one account.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn set_account(
        &mut self,
        id: HostId,
        login: &Login,
        uid: u32,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO accounts (host, login, uid) VALUES ($1, $2, $3)
             ON CONFLICT (host, login) DO UPDATE SET uid = excluded.uid",
        )
        .bind(id.to_string())
        .bind(login.as_str())
        .bind(i64::from(uid))
        .execute(self.ready().await?)
        .await?;
        Ok(())
    }

    /// The uid of a login on a host; none: the host said that there is no such account, or has not said yet.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn account(&mut self, id: HostId, login: &Login) -> Result<Option<u32>, StoreError> {
        let question = "SELECT uid FROM accounts WHERE host = $1 AND login = $2";
        let rows = self.ask(question, [id.to_string().into(), login.as_str().into()]).await?;
        rows.first().map(|row| Row("accounts", row).number("uid")).transpose()
    }
}
