//! What a connection sends takes effect in the order sent, though it goes to several slots. PUBLISHes keep their order
//! by the ways they take. SUBSCRIBE and UNSUBSCRIBE go by the Session's slot to those of the partitions, so each of them
//! is a barrier: nothing behind it is taken before it is answered, and it is not asked for before what the connection
//! published ahead of it was taken. PUBREL waits in the same way where its PUBREC has not left. Who only publishes does not
//! wait here, unless a partition has to be asked whether it has room for a message.

use convoy_ids::SlotId;
use convoy_wire::{self as wire, PacketId, ReasonCode, RetainHandling};

use super::UNTOLD;
use super::inbound::{Inbound, Received};
use super::repeats::Repeats;
use crate::call::SessionCall;
use crate::retained;
use crate::session::{Place, Wanted};

/// What has to be answered before another packet is taken.
#[derive(Debug)]
pub enum Barrier {
    Ask(Box<Ask>),
    /// A PUBREL whose PUBLISH is not acknowledged yet.
    Release(PacketId),
    /// A QoS 2 PUBLISH to a partition that is asked whether it has room, until its PUBREC leaves. What the connection
    /// published before is acknowledged first: it must not be overtaken on the way round.
    Admit(Box<Admit>),
}

/// A QoS 2 PUBLISH that is taken by itself.
#[derive(Debug)]
pub struct Admit {
    pub packet_id: PacketId,
    pub bytes: usize,
    pub place: Place,
    /// Taken when it is sent.
    pub message: Option<Vec<u8>>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that is not acknowledged yet. One of very many Topic Filters goes to the slot in pieces, each
/// when the one before it is done.
#[derive(Debug)]
pub struct Ask {
    /// Each piece has its own.
    pub token: u64,
    pub packet_id: PacketId,
    pub kind: AskKind,
    /// Monotonic milliseconds at which this piece began.
    pub since: u64,
    /// Parts that have yet to answer.
    pub parts: i32,
    pub reasons: Vec<ReasonCode>,
    /// What the slot has not been asked for yet.
    pub rest: Option<Rest>,
    /// Topic Filters that the packet names more than once: each is asked for once.
    pub repeats: Repeats,
    /// Places in `reasons` that are answered as others are.
    pub repeated: Vec<(u32, u32)>,
    /// Bytes that this piece holds.
    pub piece_bytes: usize,
    /// Of a SUBSCRIBE: what this piece asks for, and what its Retain Handling is.
    pub wanted: Vec<(Wanted, RetainHandling)>,
    /// Places in `reasons` of what this piece asks of the slot.
    pub asked: Vec<usize>,
    /// Of an UNSUBSCRIBE: the Topic Filters of this piece.
    pub filters: Vec<String>,
    /// Of a SUBSCRIBE: where each of `wanted`, by its number, was registered.
    pub registered: Vec<(usize, retained::Place)>,
    /// The same of those of `wanted` that begin with a wildcard, all together: slots that have them, each with the number up
    /// to which Retained Messages were there before.
    pub roots_registered: Vec<(SlotId, u64)>,
    /// Shards that have yet to say that they took what the connection sent them before.
    pub unheard: i32,
    /// This piece was asked for before, and may have been done then.
    pub is_retried: bool,
    /// What the slot will be asked, until it is.
    pub call: Option<SessionCall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskKind {
    Subscribe,
    Unsubscribe,
}

/// Topic Filters that the slot has not been asked for yet.
#[derive(Debug)]
pub enum Rest {
    Subscribe {
        subscriptions: wire::Kept<wire::Subscription<'static>>,
        /// Zero for none.
        identifier: u32,
    },
    Unsubscribe {
        filters: wire::Kept<wire::TopicFilter<'static>>,
    },
}

impl Rest {
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Subscribe { subscriptions, .. } => subscriptions.held_bytes(),
            Self::Unsubscribe { filters } => filters.held_bytes(),
        }
    }
}

impl Ask {
    /// Without a token until it is put.
    pub fn new(kind: AskKind, packet_id: PacketId, since: u64) -> Self {
        Self {
            token: 0,
            packet_id,
            kind,
            since,
            parts: UNTOLD,
            reasons: Vec::new(),
            rest: None,
            repeats: Repeats::default(),
            repeated: Vec::new(),
            piece_bytes: 0,
            wanted: Vec::new(),
            asked: Vec::new(),
            filters: Vec::new(),
            registered: Vec::new(),
            roots_registered: Vec::new(),
            unheard: 0,
            is_retried: false,
            call: None,
        }
    }

    /// Whether the same may be asked for anew.
    pub fn may_retry(&self) -> bool {
        self.kind == AskKind::Subscribe || self.call.is_some()
    }

    /// The same is asked for anew: whether it was done before is not known.
    pub fn retry(&mut self) {
        self.parts = UNTOLD;
        self.registered.clear();
        self.roots_registered.clear();
        self.is_retried = true;
    }

    /// The next piece begins, and what was asked for last is done.
    pub fn next_piece(&mut self, now: u64) {
        self.since = now;
        self.piece_bytes = 0;
        self.is_retried = false;
        self.parts = UNTOLD;
        self.wanted.clear();
        self.asked.clear();
        self.filters.clear();
        self.registered.clear();
        self.roots_registered.clear();
    }

    /// What is named again is answered as it was before: refused for the same reason, and an UNSUBSCRIBE finds no
    /// Subscription any more.
    pub fn answer_repeated(&mut self) {
        for (place, first) in self.repeated.drain(..) {
            let reason = self.reasons[first as usize];
            if reason.is_error() {
                self.reasons[place as usize] = reason;
            } else if self.kind == AskKind::Unsubscribe {
                self.reasons[place as usize] = ReasonCode::NoSubscriptionExisted;
            }
        }
    }

    /// Bytes that are held of the packet.
    pub fn held_bytes(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, Rest::held_bytes);
        rest + self.repeats.held_bytes() + self.piece_bytes + self.reasons.capacity()
    }

    /// Whether something of this piece was refused.
    pub fn is_refused(&self) -> bool {
        self.asked.iter().any(|place| self.reasons[*place].is_error())
    }

    /// There is room for these of the Topic Filters alone.
    pub fn keep(&mut self, granted: &[bool]) {
        for (place, granted) in self.asked.iter().zip(granted) {
            if !granted {
                self.reasons[*place] = ReasonCode::QuotaExceeded;
            }
        }
        let mut kept = granted.iter();
        self.asked.retain(|_| kept.next() == Some(&true));
        let mut kept = granted.iter();
        self.wanted.retain(|_| kept.next() == Some(&true));
    }
}

/// What is to be done now for what waits at a barrier.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Call(Box<SessionCall>),
    Release(PacketId),
    Admit {
        packet_id: PacketId,
        bytes: usize,
        place: Place,
        message: Vec<u8>,
    },
    /// Everything is done.
    Lift,
}

impl Barrier {
    /// The next step, once everything before it is done.
    pub fn step(&mut self, inbound: &Inbound) -> Option<Step> {
        match self {
            Self::Ask(ask) if ask.unheard == 0 && inbound.waiting() == 0 => {
                ask.call.take().map(|call| Step::Call(Box::new(call)))
            }
            Self::Release(packet_id) if inbound.received(*packet_id) != Some(Received::Accepting) => {
                Some(Step::Release(*packet_id))
            }
            Self::Admit(admit) if inbound.waiting() == 0 => {
                let Admit { packet_id, bytes, place, .. } = **admit;
                Some(match admit.message.take() {
                    Some(message) => Step::Admit { packet_id, bytes, place, message },
                    None => Step::Lift,
                })
            }
            Self::Ask(_) | Self::Release(_) | Self::Admit(_) => None,
        }
    }
}
