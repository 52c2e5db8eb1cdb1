//! The two ends by themselves, and both of them where everything goes wrong but the rules.

mod receiving;
mod rows;
mod run;
mod sending;

use convoy_ids::{NodeId, Term};
use convoy_membership::support::Process;

use super::*;

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn source(start: u64, place: u64) -> Source {
    Source { process: Process { node: node(9), start }, shard: 1, place }
}

fn done(text: &str) -> Reply {
    Reply::Done(text.into())
}

/// The numbers and contents of the letters that a sender has for its leader, with a dash where a number is void.
fn letters(sender: &mut Sender<&'static str>, now: u64) -> Vec<(u64, &'static str)> {
    let next =
        || sender.next_letter(now).map(|(_, call)| (call.number, call.content.copied().unwrap_or("-")));
    std::iter::from_fn(next).collect()
}

fn led(window: Window) -> Sender<&'static str> {
    let mut sender = Sender::new(window);
    sender.on_leader(Term(1), Some(node(1)));
    sender
}
