//! A connection outlives the leader of its Session's slot, unless that is gone together with this node. While nobody leads
//! the slot, as far as is known, nothing is read from the Client, for nobody could say whether the Session is still its own.
//! The next leader is told how far the connection has come.

use convoy_wire::ReasonCode;

use super::Edge;
use crate::call::{Answer, ReplyTo, SessionCall, token};
use crate::connection::{Connection, Stage};

impl Edge {
    /// The slot of its Session is led again.
    pub(super) fn ask_to_adopt(&mut self, key: u32) {
        let connection = &self.connections[key as usize];
        let call = match connection.stage {
            Stage::Open if connection.unled_since().is_some() => SessionCall::Adopt {
                session: connection.session,
                epoch: connection.epoch,
                home: connection.home,
                progress: connection.sent().map(|sent| Box::new(sent.progress(connection.receive_maximum))),
                reply: ReplyTo { home: connection.home, token: token::ADOPT },
            },
            // The leader before may have put it on record, or not.
            Stage::Leaving => connection.takes_leave(),
            _ => return,
        };
        self.calls.push_back(call);
    }

    /// What the slot says of a connection that asked to be adopted.
    pub(super) fn on_adopted(&mut self, key: u32, answer: &Answer) {
        let connection = &mut self.connections[key as usize];
        if connection.stage != Stage::Open || connection.unled_since().is_none() {
            return;
        }
        match answer {
            Answer::Done => {
                connection.succession_mut().unled_since = None;
                self.mark(key);
            }
            Answer::Refused(ReasonCode::SessionTakenOver) => {
                let home = connection.home;
                self.taken_over(&home);
            }
            // It is led by yet another one soon.
            Answer::Refused(ReasonCode::ServerBusy) | Answer::Unknown => {}
            // Its leave was taken while it was not heard.
            Answer::Refused(_) => self.close(key, ReasonCode::ServerBusy),
            _ => {}
        }
    }
}

impl Connection {
    /// Takes leave of the Session, and asks for a word when that is on record.
    pub(crate) fn takes_leave(&self) -> SessionCall {
        SessionCall::Disconnect {
            session: self.session,
            epoch: self.epoch,
            farewell: self.farewell,
            expiry_seconds: self.farewell_expiry,
            reply: Some(ReplyTo { home: self.home, token: token::LEAVE }),
        }
    }
}
