//! What a run is judged by: the promises of the whole suite, the rules that a node broke towards one Client, and what the
//! members of a Shared Subscription got together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::strike::Schedule;
use super::world::Outcome;
use crate::invariant::census::Census;
use crate::invariant::{self, Tally, Violation};
use crate::oracle::{Fault, Ledger, Life, Link, Message, Name, Qos, Terms, What};

/// How long after its PUBCOMP a message may still be on its way to be matched, and a DISCONNECT on its way to a record:
/// a slow sync or two, and a restart between them.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// How long after it was sent, in calm, a CONNECT that was given up may still take effect.
const HAUNTS: Duration = Duration::from_secs(6);

/// So long a fleet may be without a leader where nothing stands in the way: an election or two of each slot, of which
/// messages are lost, and a hand-over.
const LEADERLESS: Duration = Duration::from_secs(10);

/// A judged run.
pub struct Verdict {
    pub ledger: Ledger,
    pub tally: Tally,
    /// What was judged.
    pub census: Census,
    /// All that befell the fleet.
    pub struck: Schedule,
    /// Rows that could not be read for a while, as they were named.
    pub damaged: Vec<String>,
    /// Times that a node did not start over such a row, and that one met it.
    pub refused: [usize; 2],
    /// How long the run was.
    pub lasted: Duration,
    /// Copies of slots' state that came into force.
    pub copies: u64,
    /// Replicas of slots that came to nodes and went.
    pub moves: u64,
    /// Nodes whose place others took without an order.
    pub replaced: u64,
    /// What was wrong, in words.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// Judges the run. `group`: topics below this are also taken by the Shared Subscription.
    pub fn judge(self, group: Option<&str>) -> Verdict {
        let mut wrong = self.log.findings;
        wrong.extend(self.failures.iter().map(|failure| format!("a shard failed: {failure}")));
        wrong.extend(self.restless);
        if self.leaderless > LEADERLESS {
            wrong.push(format!(
                "16 liveness: a majority that nothing happened to was not led for {:?}",
                self.leaderless
            ));
        }
        let ledger = Ledger::of(self.log.events);
        for (at, client, said) in &self.log.of_one_session {
            if !is_haunted(&ledger, client, *at) {
                wrong.push(format!("event {at}: {client} got {said}"));
            }
        }
        let broken = invariant::check(&ledger);
        wrong.extend(broken.iter().filter(|found| !is_excused(&ledger, found)).map(ToString::to_string));
        if let Some(front) = group {
            check_group(&ledger, front, &self.log.shared, &self.log.members, &mut wrong);
        }
        let (tally, mut census) = (Tally::of(&ledger), Census::of(&ledger));
        let grouped = |sent: &&crate::oracle::Sent| {
            group.is_some_and(|front| sent.message.topic.starts_with(front)) && sent.accepted.is_some()
        };
        census.add("8 messages of a Shared Subscription", ledger.sent.iter().filter(grouped).count());
        census.add("10 terms that were led", self.terms);
        census.add("13 rows that a node met and could not read", self.refused.iter().sum());
        let Self { struck, damaged, refused, copies, moves, replaced, .. } = self;
        let lasted = ledger.end();
        Verdict { ledger, tally, census, struck, damaged, refused, lasted, copies, moves, replaced, wrong }
    }
}

/// What the checkers take for wrong and is not, where Clients subscribe anew every moment and the power goes at any.
fn is_excused(ledger: &Ledger, found: &Violation) -> bool {
    match &ledger.events[found.at].what {
        What::Delivered { link, message, .. } => {
            let Some(sent) = ledger.sent_of(message) else {
                return found.invariant.starts_with('3') && is_unsure_will(ledger, message, found.at);
            };
            // The Server answers for a QoS 2 message by PUBCOMP before it has matched it: a SUBSCRIBE in between may take it.
            let matched = |completed| ledger.disturbances().calm_after(ledger.at(completed), ON_ITS_WAY);
            if found.invariant.starts_with('2') {
                return is_haunted(ledger, &message.publisher, found.at);
            }
            if found.invariant.starts_with('9') {
                let asked = first_asked(ledger, link, message, found.at);
                let late = |completed| ledger.at(asked) < matched(completed);
                return message.qos == Qos::ExactlyOnce && sent.completed.is_some_and(late);
            }
            // Sent before the Subscription was there, and again with DUP behind a later one: it comes late, or not at all.
            let since = |span: &crate::oracle::Span| {
                span.sure_from.is_some_and(|since| since < sent.first)
                    && span.doubt_from.is_none_or(|doubt| doubt > sent.first)
            };
            let promised = |life: &&crate::oracle::Life| {
                life.client == link.client
                    && life.begins < found.at
                    && life.ends.is_none_or(|end| end >= found.at)
                    && life.spans_for(&message.topic).any(since)
            };
            // Without an answer it was left on an earlier connection, whose bytes may be taken up behind those of the next.
            let orphaned = sent.accepted.is_none();
            found.invariant.starts_with('3') && (orphaned || !ledger.lives.iter().any(|life| promised(&life)))
        }
        What::Connack { link, .. } if found.invariant.starts_with('5') => {
            is_haunted(ledger, &link.client, found.at)
        }
        What::Accepted { .. } if found.invariant.starts_with('1') => ledger.lives.iter().any(|life| {
            found.said.contains(&format!("never reached {} (", life.client))
                && is_haunted(ledger, &life.client, found.at)
        }),
        // Nothing acknowledges a DISCONNECT: it may be lost with the power right behind it, and then the Will is due.
        What::Closed { .. } if found.invariant.starts_with('7') && found.said.contains("normally") => {
            let soon = ledger.at(found.at) + ON_ITS_WAY;
            let died = |fault: &Fault| matches!(fault, Fault::Killed | Fault::PowerCut);
            ledger.faults().any(|(at, fault)| died(fault) && at > found.at && ledger.at(at) < soon)
        }
        _ => false,
    }
}

/// Whether a CONNECT of this Client may have taken its Session away, or begun another one, that it has given up without an
/// answer. It may come out of a socket or a channel a while later, as if it were the next.
fn is_haunted(ledger: &Ledger, client: &Name, at: usize) -> bool {
    ledger.connections.iter().any(|connection| {
        let ends = connection.terms.expiry.is_zero() || connection.terms.clean_start;
        let is_given_up =
            connection.link.client == *client && connection.connack.is_none() && !connection.rejected;
        let haunts = || ledger.disturbances().calm_after(ledger.at(connection.connect), HAUNTS);
        ends && is_given_up && connection.connect < at && haunts() > ledger.at(at)
    })
}

/// When the Session that got a message first asked for such.
fn first_asked(ledger: &Ledger, link: &Link, message: &Message, got: usize) -> usize {
    let holds = |life: &&Life| {
        life.client == link.client && life.begins < got && life.ends.is_none_or(|end| end >= got)
    };
    let lives = ledger.lives.iter().filter(holds);
    let spans = lives.flat_map(|life| life.spans_for(&message.topic)).map(|span| span.asked);
    spans.filter(|asked| *asked < got).min().unwrap_or(got)
}

/// Whether a Will is of a connection that was never answered, or came behind that of such a one: it may have been accepted in
/// whichever order, long after its Client had given it up.
fn is_unsure_will(ledger: &Ledger, will: &Message, got: usize) -> bool {
    let of_client =
        || ledger.connections.iter().filter(|connection| connection.link.client == will.publisher);
    let is_of = |terms: &Terms| terms.will.as_ref().is_some_and(|of| of.message == *will);
    let Some(own) = of_client().find(|connection| is_of(&connection.terms)) else { return false };
    of_client().any(|connection| {
        (own.connect..got).contains(&connection.connect)
            && connection.connack.is_none()
            && !connection.rejected
    })
}

/// Invariant 8: what is acknowledged reaches a member, and at QoS 2 one alone and once.
fn check_group(
    ledger: &Ledger,
    front: &str,
    got: &[(usize, Name, Message)],
    members: &BTreeMap<Name, usize>,
    wrong: &mut Vec<String>,
) {
    let mut counts: BTreeMap<&Message, usize> = BTreeMap::new();
    for (_, _, message) in got {
        *counts.entry(message).or_default() += 1;
    }
    let Some(&since) = members.values().min() else { return };
    for sent in ledger.sent.iter().filter(|sent| sent.message.topic.starts_with(front) && sent.first > since)
    {
        let count = counts.get(&sent.message).copied().unwrap_or(0);
        if count == 0 && sent.accepted.is_some() {
            wrong.push(format!("8 shared: {} was acknowledged and reached no member", sent.message));
        }
        if count > 1 && sent.message.qos == Qos::ExactlyOnce {
            wrong.push(format!("8 shared: {} reached members {count} times", sent.message));
        }
    }
}
