//! The form of frames, one end against frames that are written by hand, two ends over a link that keeps what it gets, and a
//! random run in which everything goes wrong but the rules.

mod exhaust;
mod form;
mod lying;
mod payloads;
mod reliance;
mod run;

use bytes::Bytes;
use convoy_ids::NodeId;

use super::*;

const TIMES: Times = Times { heartbeat: 250, relies: 2_000, drift: 100, resend: 200, resend_most: 1_000 };
/// Room for four payloads of one byte, and two of them under way.
const LIMITS: Limits = Limits { window: 2 * 65, waiting: 4 * 65 };

fn process(node: u64, start: u64) -> Process {
    Process { node: NodeId::new(node).unwrap(), start }
}

/// The end of node 1 or 2, which is the only shard of its process.
fn end(node: u64, start: u64, now: u64) -> Channel {
    let me = End { process: process(node, start), shard: 0 };
    Channel::new(me, 1, NodeId::new(3 - node).unwrap(), 0, TIMES, LIMITS, now)
}

fn bytes(payload: &'static str) -> Bytes {
    Bytes::from_static(payload.as_bytes())
}

fn frames(channel: &mut Channel, now: u64) -> Vec<Frame> {
    std::iter::from_fn(|| channel.next_frame(now)).collect()
}

fn hear(channel: &mut Channel, now: u64, frame: &Frame) -> Vec<Event> {
    let mut out = Vec::new();
    channel.on_frame(now, frame, &mut out);
    out
}

fn tick(channel: &mut Channel, now: u64) -> Vec<Event> {
    let mut out = Vec::new();
    channel.on_time(now, &mut out);
    out
}

/// Two ends whose clocks agree, and what each was told.
struct Two {
    a: Channel,
    b: Channel,
}

impl Two {
    /// Both open since `now`, and each has heard the other.
    fn open(now: u64) -> Self {
        let mut two = Self { a: end(1, 7, now), b: end(2, 9, now) };
        two.exchange(now);
        assert!(two.a.relies_until() == Some(now + 2_000) && two.b.relies_until() == Some(now + 2_000));
        two
    }

    /// All frames go over until nobody has any, without a delay.
    fn exchange(&mut self, now: u64) -> (Vec<Event>, Vec<Event>) {
        let (mut to_a, mut to_b) = (tick(&mut self.a, now), tick(&mut self.b, now));
        loop {
            let (from_a, from_b) = (frames(&mut self.a, now), frames(&mut self.b, now));
            if from_a.is_empty() && from_b.is_empty() {
                return (to_a, to_b);
            }
            from_a.iter().for_each(|frame| self.b.on_frame(now, frame, &mut to_b));
            from_b.iter().for_each(|frame| self.a.on_frame(now, frame, &mut to_a));
        }
    }
}
