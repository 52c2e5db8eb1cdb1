//! What an operator does to a node that runs: bans a Client, takes that back, has the configuration read again.

use std::io;

use super::{Node, request, signal};
use crate::oracle::{Fault, Name};

/// The number of a ban, by which it is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban(u64);

impl Node {
    /// Keeps a Client out. It holds once this is back.
    pub async fn ban(&self, client: &Name) -> io::Result<Ban> {
        let body = format!("{{\"client_id\":\"{client}\",\"reason\":\"chaos\"}}");
        let (status, text) = self.ask("POST", "/api/v1/bans", &body).await?;
        let number = text.split("\"id\":").nth(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse()
        });
        match (status, number) {
            (201, Some(Ok(number))) => {
                self.history.fault(Fault::Banned(client.clone()));
                Ok(Ban(number))
            }
            _ => Err(io::Error::other(format!("banning {client} was answered {status}: {text}"))),
        }
    }

    pub async fn pardon(&self, client: &Name, ban: Ban) -> io::Result<()> {
        self.history.fault(Fault::Pardoned(client.clone()));
        match self.ask("DELETE", &format!("/api/v1/bans/{}", ban.0), "").await? {
            (204, _) => Ok(()),
            (status, text) => {
                Err(io::Error::other(format!("taking back ban {} was answered {status}: {text}", ban.0)))
            }
        }
    }

    /// SIGHUP.
    pub fn reload(&self) {
        if let Some(pid) = self.pid() {
            self.history.fault(Fault::Reloaded);
            signal::hang_up(pid);
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let key = std::fs::read_to_string(self.data.join("api.key"))?;
        request(self.api, method, path, Some(key.trim()), body).await
    }
}
