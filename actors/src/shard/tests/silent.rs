//! Time and Clients: silence counts while we listen, what is due comes on the tick at which it is due, and nobody waits
//! for an answer without an end.

use super::*;
use crate::options::RateLimits;

impl World {
    /// Time passes, and nothing is synced.
    fn wait(&mut self, millis: u64) {
        self.now.monotonic += millis;
        self.now.wall += millis;
        for shard in &mut self.shards {
            shard.tick_connections(self.now);
            shard.tick(self.now);
        }
        self.flow();
    }

    fn listen(&mut self, listens: bool) {
        self.shards.iter_mut().for_each(|shard| shard.listens(self.now, listens));
    }

    /// The Client ends its side of its connection: whether that is the end of it.
    fn ends(&mut self, client: Client) -> bool {
        let Line { shard, key, .. } = self.lines[client.0];
        self.shards[shard].ends(self.now, key.expect("it is open"))
    }
}

fn with_keep_alive(seconds: u16, client_id: &str) -> Connect<'_> {
    Connect { keep_alive: seconds, ..passing(client_id) }
}

const SILENT: [Got; 2] = [Got::Disconnect(ReasonCode::KeepAliveTimeout), Got::Closed];

#[test]
fn who_publishes_faster_than_its_rate_is_not_silent_while_it_is_not_read() {
    let publish_limits = RateLimits { bytes_per_second: 100, ..RateLimits::default() };
    let mut world = World::with(Limits { publish: publish_limits, ..Limits::default() });
    let client = world.connect(with_keep_alive(10, "a"));
    world.publish(client, publish("x", &"m".repeat(5_000), 0));
    assert!(!world.is_reading(client));
    for _ in 0..48 {
        world.pass(1_000);
        assert_eq!(world.got(client), []);
    }
    world.pass(2_000);
    assert!(world.is_reading(client));
    world.pass(14_000);
    assert_eq!(world.got(client), []);
    world.pass(1_001);
    assert_eq!(world.got(client), SILENT);
}

#[test]
fn who_waits_for_acknowledgements_is_not_silent_while_it_is_not_read() {
    let mut world = World::with(Limits { receive_maximum: 1, ..Limits::default() });
    world.subscriber(lasting("s"), &["x/y"]);
    let client = world.connect(with_keep_alive(10, "a"));
    world.send(client, Packet::Publish(publish("x/y", "1", 1)));
    for _ in 0..29 {
        world.wait(1_000);
        assert_eq!(world.got(client), []);
    }
    world.settle();
    assert_eq!(world.got(client), [Got::Puback(1, ReasonCode::Success)]);
    world.pass(15_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), SILENT);
}

#[test]
fn nobody_is_silent_while_nobody_listens() {
    let mut world = World::new();
    let client = world.connect(with_keep_alive(10, "a"));
    world.pass(5_000);
    for _ in 0..3 {
        world.listen(false);
        world.pass(60_000);
        assert_eq!(world.got(client), []);
        world.listen(true);
        world.pass(3_000);
        assert_eq!(world.got(client), []);
    }
    // 5 seconds, three times 3, and one.
    world.pass(1_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), SILENT);
}

#[test]
fn time_that_a_thread_did_not_get_is_no_silence() {
    let mut world = World::new();
    let client = world.connect(with_keep_alive(10, "a"));
    world.now.monotonic += 60_000;
    world.shards.iter_mut().for_each(|shard| shard.was_away(60_000));
    world.pass(15_000);
    assert_eq!(world.got(client), []);
    world.pass(1);
    assert_eq!(world.got(client), SILENT);
}

#[test]
fn a_silent_client_is_noticed_at_the_tick() {
    for phase in 0..10 {
        let mut world = World::new();
        let client = world.connect(with_keep_alive(1, "a"));
        let (mut took, mut ticks) = (0, phase);
        while world.got(client).is_empty() && took < 10_000 {
            took += 100;
            ticks += 1;
            world.now.monotonic += 100;
            for shard in &mut world.shards {
                shard.tick(world.now);
                if ticks % 10 == 0 {
                    shard.tick_connections(world.now);
                }
            }
            world.flow();
        }
        assert!((1_500..=1_600).contains(&took), "noticed after {took} ms");
    }
}

#[test]
fn connect_that_is_not_answered_is_refused_in_time() {
    for (connect, reason) in
        [(passing("c"), ReasonCode::ServerBusy), (Connect::new(V311, "c"), ReasonCode::ServerUnavailable)]
    {
        let mut world = World::with(Limits { connect_timeout: 10_000, ..Limits::default() });
        let client = world.ask(connect);
        world.wait(10_000);
        assert_eq!(world.got(client), []);
        world.wait(1);
        assert_eq!(world.got(client), [Got::Connack(reason, false), Got::Closed]);
        // What the log brings late is given back.
        world.settle();
        world.pass(1_000);
        assert_eq!(world.shards.iter().map(|shard| shard.observe().sessions).sum::<u64>(), 0);
        let client = world.join(connect);
        assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    }
}

#[test]
fn who_leaves_before_it_is_answered_is_let_go() {
    let mut world = World::new();
    let client = world.ask(passing("c"));
    assert!(!world.ends(client));
    world.wait(1_000);
    world.wait(1_000);
    assert_eq!(world.got(client).last(), Some(&Got::Closed));
    // An answer that comes in time is heard by who has closed one direction only.
    let client = world.ask(passing("d"));
    assert!(!world.ends(client));
    world.settle();
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
    assert!(world.ends(client));
    world.pass(5_000);
    assert_eq!(world.got(client), []);
}

#[test]
fn pubrel_that_is_not_answered_ends_in_time() {
    let mut world = World::with(Limits { acknowledge_timeout: 30_000, ..Limits::default() });
    let client = world.connect(lasting("c"));
    world.publish(client, Publish { qos: QoS::ExactlyOnce, ..publish("nobody", "1", 8) });
    world.got(client);
    world.send(client, pubrel(8));
    world.wait(30_000);
    assert_eq!(world.got(client), []);
    world.wait(1);
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed]);
}
