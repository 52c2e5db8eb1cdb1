//! A connection machine drives one Network Connection: handshake, inbound, outbound, Topic Alias, Keep Alive. It is not
//! the Session: a connection ends, a Session lasts.

mod alias;
mod barrier;
mod credit;
mod encoded;
mod handshake;
mod held;
mod inbound;
mod keep_alive;
mod membership;
mod outbound;
mod output;
mod rate;
mod repeats;
mod sent;
mod succession;

use convoy_wire::{Connack, Disconnect, ProtocolVersion, ReasonCode};

use crate::access::{Permits, Principal};
use crate::author::Who;
use crate::budget::User;
use crate::call::Farewell;
use crate::clock::Millis;
use crate::metric;
use crate::options::Limits;
use crate::peer::Peer;
use crate::query::Traffic;
use crate::retained::Readings;
use crate::session::{Epoch, Home, SessionNumber};

pub use alias::Aliases;
pub use barrier::{Admit, Ask, AskKind, Barrier, Rest, Step};
pub use credit::{Credit, Standing};
pub use encoded::{Encoded, Receiver, is_large};
pub use handshake::{Refusal, accept};
pub use held::Held;
pub use inbound::{Again, Inbound, Received, Releases, UNTOLD};
pub use keep_alive::KeepAlive;
pub use membership::{Membership, Waiting};
pub use outbound::{Outbound, Reaction};
pub use output::{Output, SHARED_FROM};
pub use rate::{Rate, Verdict};
pub use repeats::Repeats;
pub use sent::Sent;
pub use succession::Succession;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// CONNECT is awaited.
    New,
    /// Somebody was asked whether the Client is who it says. No Session was touched.
    Authenticating,
    /// The slot of the Client Identifier was asked for the Session.
    Connecting,
    Open,
    /// DISCONNECT came: the connection is closed once that is on record, so that a Client that waits for the end of
    /// its connection knows that its Will is discarded.
    Leaving,
    /// Nothing is read any more; what is in the output is written, then the Network Connection is closed.
    Closing,
    /// The Client did not take what was left to be said to it: the Network Connection is closed at once.
    Gone,
}

impl Stage {
    /// Whether CONNACK has not been formed.
    pub fn is_half_open(self) -> bool {
        matches!(self, Self::New | Self::Authenticating | Self::Connecting)
    }
}

pub struct Connection {
    pub home: Home,
    pub peer: Peer,
    /// Who the Client was found to be.
    pub principal: Principal,
    pub client_id: Box<str>,
    /// The principal, as what it stores is counted.
    pub user: User,
    /// What it may do; `None` for everything.
    pub permits: Option<Box<Permits>>,
    /// The body of a CONNECT that waits for a verdict.
    pub unproven: Option<Box<[u8]>>,
    pub stage: Stage,
    /// The last change that it was judged by, of rules and of whoever may be connected.
    pub judged: u32,
    pub version: ProtocolVersion,
    pub session: SessionNumber,
    pub epoch: Epoch,
    /// The messages of the Session come from its slot.
    pub lasting: bool,
    /// Its Session was asked for, and no answer came.
    pub asks_for_session: bool,
    /// It has subscribed to something.
    pub subscribes: bool,
    /// The Session Expiry Interval that CONNECT asked for, or less.
    pub expiry_seconds: u32,
    /// In the list of connections whose output is to be written.
    pub is_dirty: bool,
    /// The Session is ours until somebody else gets it or we have taken leave.
    pub owns_session: bool,
    pub farewell: Farewell,
    /// Session Expiry Interval of a DISCONNECT.
    pub farewell_expiry: Option<u32>,
    pub keep_alive: KeepAlive,
    /// Monotonic milliseconds of the last byte that came; until there was a CONNECT, of the beginning.
    pub last_seen: u64,
    /// Monotonic milliseconds at which the connection does not go on as it is, whatever happens: how that ends is its
    /// stage's.
    pub doomed_at: Option<u64>,
    /// Set where the rate at which the Client publishes is limited.
    pub rate: Option<Box<Rate>>,
    /// Monotonic milliseconds before which nothing is read from the Client; zero for none.
    pub paused_until: u64,
    /// What it published is being passed on in pieces, and nothing is read from the Client meanwhile.
    pub is_casting: bool,
    /// Largest packet that the Client takes.
    pub packet_bytes_limit: u32,
    pub receive_maximum: u16,
    /// Set for a Client that takes Topic Aliases.
    pub aliases: Option<Box<Aliases>>,
    pub inbound: Inbound,
    /// What it has caused that is still under way.
    pub credit: Credit,
    /// PUBRELs on their way to the log.
    pub releases: Releases,
    /// Of a Session that ends with the connection.
    pub outbound: Option<Box<Outbound>>,
    /// Where slots may come to be led by other nodes.
    pub succession: Option<Box<Succession>>,
    /// Bytes of a packet that is not whole yet.
    pub input: Vec<u8>,
    /// Bytes that were counted for what is not whole or not judged yet, and whether as those of a Client that is not
    /// connected.
    pub unfinished: Unfinished,
    /// `input` begins with a packet that was not taken because none was.
    pub has_whole_input: bool,
    pub output: Output,
    /// Answers in what was given out to be written and is not written yet.
    pub unwritten_answers: usize,
    /// Monotonic milliseconds since which the Client has taken nothing, while something waits to be written to it.
    pub unread_since: Option<u64>,
    /// What waits until the Client reads it, as far as it is counted.
    pub unread: Held,
    /// What has to be answered before another packet is taken.
    pub barrier: Option<Barrier>,
    /// Retained Messages that are still to be read or sent.
    pub readings: Option<Box<Readings>>,
    /// Of those, messages that are in the Session's queue and not acknowledged.
    pub retained_unacknowledged: u32,
    pub greeting: Option<Box<Greeting>>,
    /// When its CONNECT came.
    pub connected_at: Millis,
    /// What CONNECT said.
    pub clean_start: bool,
    pub traffic: Traffic,
    /// Hash of the Client Identifier.
    pub client: u64,
    /// Set for members of Shared Subscriptions.
    pub membership: Option<Box<Membership>>,
}

// An allocator gives out memory in sizes an eighth apart: the next one would be 896 bytes, for each Client.
const _: () = assert!(size_of::<Connection>() <= 768);

/// What a connection makes us hold of packets that cannot be carried out yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    pub bytes: usize,
    /// Its Client is not connected.
    pub is_half_open: bool,
}

/// What CONNACK will say, kept while the slot is asked.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    pub assigned_client_id: Option<String>,
    pub session_expiry: Option<u32>,
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<String>,
}

impl Connection {
    pub fn new(home: Home, peer: Peer, now: u64) -> Self {
        Self {
            home,
            peer,
            principal: Principal::ANONYMOUS,
            client_id: Box::default(),
            user: User::NOBODY,
            permits: None,
            unproven: None,
            stage: Stage::New,
            judged: 0,
            version: ProtocolVersion::V311,
            session: SessionNumber(0),
            epoch: Epoch(0),
            lasting: false,
            asks_for_session: false,
            subscribes: false,
            expiry_seconds: 0,
            is_dirty: false,
            owns_session: false,
            farewell: Farewell::WithWill,
            farewell_expiry: None,
            keep_alive: KeepAlive::default(),
            last_seen: now,
            doomed_at: None,
            rate: None,
            paused_until: 0,
            is_casting: false,
            packet_bytes_limit: u32::MAX,
            receive_maximum: u16::MAX,
            aliases: None,
            inbound: Inbound::default(),
            credit: Credit::default(),
            releases: Releases::default(),
            outbound: None,
            succession: None,
            input: Vec::new(),
            unfinished: Unfinished::default(),
            has_whole_input: false,
            output: Output::default(),
            unwritten_answers: 0,
            unread_since: None,
            unread: Held::default(),
            barrier: None,
            readings: None,
            retained_unacknowledged: 0,
            greeting: None,
            connected_at: 0,
            clean_start: false,
            traffic: Traffic::default(),
            client: 0,
            membership: None,
        }
    }

    /// Whether packets of the Client are taken now. What is not taken stays in its socket.
    pub fn is_reading(&self, limits: &Limits) -> bool {
        match self.stage {
            Stage::New => true,
            Stage::Open => {
                // What came behind a message that was refused, and is sent once more, must not overtake it.
                self.doomed_at.is_none()
                    && !self.inbound.is_draining()
                    && self.paused_until == 0
                    && !self.waits_for_leader()
                    && !self.is_casting
                    && self.inbound.waiting() < usize::from(limits.receive_maximum)
                    && self.releases.waiting() < usize::from(limits.receive_maximum)
                    && !self.has_used_credit(limits)
                    && !self.has_unread_answers(limits)
                    && self.barrier.is_none()
            }
            Stage::Authenticating | Stage::Connecting | Stage::Leaving | Stage::Closing | Stage::Gone => {
                false
            }
        }
    }

    /// Whether as much is under way of what the Client sent as may be. Each packet is asked about.
    pub fn has_used_credit(&self, limits: &Limits) -> bool {
        self.credit.is_used_up(self.inbound.waiting_bytes(), limits.underway_bytes)
    }

    /// Bytes of its messages that wait for records, or of one that may come.
    pub fn waiting_or_admitted_bytes(&self) -> usize {
        self.credit.in_records(self.inbound.waiting_bytes()).max(self.credit.ticket())
    }

    /// Bytes that it has caused and others hold for it.
    pub fn underway_bytes(&self) -> usize {
        self.credit.used(self.inbound.waiting_bytes())
    }

    /// Whether the Client was answered more than it has read. Each packet is asked about, for one read may hold many
    /// that want an answer. What was given out to be written counts until all of it is, so that a Client which reads
    /// slowly is read from in pieces.
    pub fn has_unread_answers(&self, limits: &Limits) -> bool {
        self.output.answer_bytes() + self.unwritten_answers > limits.answer_bytes
    }

    /// Since when the Client has waited for an answer to what it published or asked for.
    pub fn waiting_since(&self) -> Option<u64> {
        let asked = match &self.barrier {
            Some(Barrier::Ask(ask)) => Some(ask.since),
            _ => None,
        };
        [self.inbound.waiting_since(), self.releases.waiting_since(), asked].into_iter().flatten().min()
    }

    /// What is held of it now.
    pub fn weigh_unfinished(&self) -> Unfinished {
        let unproven = self.unproven.as_ref().map_or(0, |body| body.len());
        let unasked = match &self.barrier {
            Some(Barrier::Ask(ask)) => ask.held_bytes(),
            _ => 0,
        };
        Unfinished {
            bytes: self.input.capacity() + unproven + unasked,
            is_half_open: self.stage.is_half_open(),
        }
    }

    /// Ends the connection, and tells the Client why where its version can: by CONNACK before it is connected, by
    /// DISCONNECT after (MQTT 5.0, 4.13).
    pub fn close(&mut self, reason: ReasonCode) {
        match self.stage {
            Stage::New | Stage::Authenticating | Stage::Connecting => {
                // 3.x has no return code for most of it.
                let reason = connack_reason(reason);
                let _ = Connack::refused(reason).encode(self.version, self.output.tail());
            }
            Stage::Open if self.version.has_properties() => {
                let reason = said(reason, Disconnect::server_may_say);
                let _ = Disconnect::new(reason).encode(self.version, self.output.tail());
            }
            Stage::Open | Stage::Leaving | Stage::Closing => {}
            Stage::Gone => return,
        }
        self.begin_to_close();
    }

    /// If nothing has left yet of what was to be said to the Client, it is not said: the Client was not connected.
    pub fn take_back_welcome(&mut self) {
        if self.stage == Stage::Open && self.traffic.bytes_sent == 0 {
            self.output = Output::default();
            self.stage = Stage::Connecting;
        }
    }

    fn begin_to_close(&mut self) {
        if self.stage != Stage::Closing {
            self.stage = Stage::Closing;
            // What was to end it otherwise.
            self.doomed_at = None;
        }
    }

    /// Who the rules take the Client for.
    pub fn who(&self) -> Who<'_> {
        Who {
            client_id: &self.client_id,
            user: self.principal.user.as_deref(),
            address: self.peer.address.ip(),
            listener: &self.peer.listener.name,
        }
    }

    /// Whether a message on this topic may be delivered.
    #[inline]
    pub fn may_receive(&self, topic: &str) -> bool {
        let Some(permits) = &self.permits else { return true };
        let may = permits.may_receive(topic);
        if !may {
            metric::denied("receive");
        }
        may
    }

    /// Ends an open connection and names another Server (MQTT 5.0, 4.11). False if this Client cannot be told.
    pub fn send_elsewhere(&mut self, server: &str) -> bool {
        let mut disconnect = Disconnect::new(ReasonCode::UseAnotherServer);
        disconnect.properties.server_reference = Some(server);
        // More than the Client takes would be a fault of ours [MQTT-3.1.2-24].
        let fits = server.len() + 16 <= self.packet_bytes_limit as usize;
        let told = self.stage == Stage::Open
            && self.version.has_properties()
            && fits
            && disconnect.encode(self.version, self.output.tail()).is_ok();
        if told {
            self.begin_to_close();
        }
        told
    }

    /// Ends the connection without a word.
    pub fn drop_silently(&mut self) {
        self.begin_to_close();
    }
}

/// What a packet says of a reason that it has no Reason Code for: that it could not be done here
/// (MQTT 5.0, 3.4.2.1, 3.5.2.1, 3.9.3, 3.11.3, 3.14.2.1).
pub fn said(reason: ReasonCode, may_say: impl Fn(ReasonCode) -> bool) -> ReasonCode {
    if may_say(reason) { reason } else { ReasonCode::ImplementationSpecificError }
}

/// What CONNACK says of a reason that belongs to later packets [MQTT-3.2.2-8].
fn connack_reason(reason: ReasonCode) -> ReasonCode {
    match reason {
        reason if Connack::may_say(reason) => reason,
        ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
        // Of two with one Client Identifier the one that has to yield hears the same, whichever it is. To say that it
        // was connected, and then why it is not, would be true once; but what it says of the Session is not true any
        // more, 3.x would hear only the first half, and Clients come back at once after that.
        ReasonCode::SessionTakenOver => ReasonCode::ClientIdentifierNotValid,
        _ => ReasonCode::UnspecifiedError,
    }
}
