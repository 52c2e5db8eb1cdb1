//! Who a Client is: what it says of itself at CONNECT, and what was found to be true.

use core::net::IpAddr;
use std::sync::Arc;

use convoy_wire::{Connect, ReasonCode};

use super::Access;
use crate::peer::Peer;
use crate::session::Home;

/// How a principal was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By nothing.
    Nobody,
    /// By a password.
    Password,
    /// By the certificate of the connection.
    Certificate,
}

/// Who a Client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user name; `None` for a Client that is anonymous.
    pub user: Option<Arc<str>>,
    pub proof: Proof,
}

impl Principal {
    pub const ANONYMOUS: Self = Self { user: None, proof: Proof::Nobody };

    /// Who owns a Session of this principal: nobody, where it is empty.
    pub fn owner(&self) -> &str {
        self.user.as_deref().unwrap_or("")
    }
}

/// Who may take a Session up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientIdOwner {
    /// The user it belongs to. One that an anonymous Client has made belongs to nobody.
    #[default]
    Bind,
    /// Whoever knows its Client Identifier.
    Any,
}

/// What somebody says who is to be authenticated. Never shown: it holds a password.
pub struct Credentials {
    /// The connection that waits for the verdict.
    pub home: Home,
    pub user: String,
    pub password: Vec<u8>,
    pub client_id: String,
    pub address: IpAddr,
}

/// What was found of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Granted(Principal),
    Refused(ReasonCode),
}

/// What CONNECT alone decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Decided(Verdict),
    /// Somebody has to look the credentials up.
    Asks,
}

impl Access {
    /// What is known of a Client when its CONNECT has come.
    pub fn admit(&self, connect: &Connect<'_>, peer: &Peer) -> Admission {
        let refused = |reason| Admission::Decided(Verdict::Refused(reason));
        if peer.listener.certificate_is_user_name {
            let name = peer.certificate.as_ref().and_then(|certificate| certificate.common_name.as_deref());
            return match name {
                Some(name) if !name.is_empty() => Admission::Decided(Verdict::Granted(Principal {
                    user: Some(name.into()),
                    proof: Proof::Certificate,
                })),
                _ => refused(ReasonCode::NotAuthorized),
            };
        }
        let authenticates = self.policy.authenticates;
        match connect.username {
            // A name alone proves nothing, even where the password that is kept is an empty one.
            Some(_) if authenticates && connect.password.is_none() => {
                refused(ReasonCode::BadUserNameOrPassword)
            }
            Some(_) if authenticates => Admission::Asks,
            // Nobody could say whether the name is true, so it is not taken for true.
            _ if peer.listener.allow_anonymous.unwrap_or(!authenticates) => {
                Admission::Decided(Verdict::Granted(Principal::ANONYMOUS))
            }
            _ => refused(ReasonCode::NotAuthorized),
        }
    }
}
