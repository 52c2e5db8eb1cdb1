//! A Client that does not read what it is answered is not read from either, whatever it asks; and what it did not read in
//! a stated time ends its connection.

use super::*;

/// Bytes that a driver reads at once.
const READ: usize = 64 << 10;

/// Bytes of answers that one read more may add, and what acknowledgements under way may.
const SLACK: usize = READ + 16 * 1024;

/// A packet that asks for an answer each time it comes, and what has to come before.
fn askers() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let publish_2 = hex("34 08 0003 'x/y' 0007 00");
    vec![
        ("PINGREQ", vec![], hex("c0 00")),
        ("PUBREL of nothing", vec![], hex("62 02 0009")),
        ("PUBREC of nothing", vec![], hex("50 02 0009")),
        ("PUBLISH at QoS 1", vec![], hex("32 08 0003 'x/y' 0007 00")),
        ("PUBLISH at QoS 2 again", publish_2.clone(), publish_2),
        ("SUBSCRIBE", vec![], hex("82 09 0007 00 0003 'a/b' 00")),
        ("UNSUBSCRIBE", vec![], hex("a2 08 0007 00 0003 'a/b'")),
    ]
}

impl World {
    /// Sends what a socket would hold for as long as it is read, 8 MiB at most; bytes that were read.
    fn flood(&mut self, client: Client, packet: &[u8]) -> usize {
        let piece = packet.repeat(READ / packet.len());
        let mut read = 0;
        while self.is_reading(client) && read < 8 << 20 {
            let Line { shard, key, .. } = self.lines[client.0];
            if key.is_some_and(|key| self.shards[shard].has_whole_input(key)) {
                self.send_bytes(client, &[]);
            } else {
                self.send_bytes(client, &piece);
                read += piece.len();
            }
            self.settle();
        }
        read
    }

    /// Bytes that the shard keeps for a Client.
    fn held(&self, client: Client) -> usize {
        let Line { shard, key, .. } = self.lines[client.0];
        let connection = &self.shards[shard].outlet.edge.connections[key.expect("it is open") as usize];
        connection.output.len() + connection.input.len()
    }
}

#[test]
fn who_does_not_read_is_not_read_from() {
    for connect in [passing("c"), lasting("c")] {
        for (what, before, asker) in askers() {
            let mut world = World::new();
            let client = world.connect(connect);
            world.send_bytes(client, &before);
            world.settle();
            world.lines[client.0].stuck = true;
            let read = world.flood(client, &asker);
            let held = world.held(client);
            let limit = world.options.limits.answer_bytes + SLACK;
            assert!(held <= limit, "{what}: {held} bytes are held after {read} were read");
            assert!(!world.is_reading(client), "{what}: {read} bytes were read");
        }
    }
}

#[test]
fn who_reads_again_is_read_from_again_and_misses_nothing() {
    let mut world = World::new();
    let client = world.connect(passing("c"));
    world.lines[client.0].stuck = true;
    let asked = world.flood(client, &hex("c0 00")) / 2;
    assert_eq!(world.got(client), []);
    world.unstick(client);
    assert_eq!(world.got(client), vec![Got::Pingresp; asked]);
    assert!(world.is_reading(client));
}

#[test]
fn who_reads_is_never_held_up() {
    for (what, before, asker) in askers() {
        let mut world = World::new();
        let client = world.connect(passing("c"));
        world.send_bytes(client, &before);
        for _ in 0..8 {
            world.send_bytes(client, &asker.repeat(READ / asker.len()));
            assert!(world.is_reading(client) || world.rounds.len() == 1, "{what}");
            world.settle();
            assert!(world.is_reading(client), "{what}");
        }
    }
}

#[test]
fn messages_for_a_slow_reader_do_not_stop_what_it_says() {
    // They have a bound of their own.
    let mut world = World::new();
    let client = world.subscriber(passing("c"), &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.lines[client.0].stuck = true;
    let payload = "m".repeat(16 << 10);
    for _ in 0..100 {
        world.publish(publisher, publish("x/y", &payload, 0));
    }
    assert!(world.held(client) > world.options.limits.output_bytes);
    assert!(world.is_reading(client));
}

#[test]
fn who_never_reads_again_is_closed_in_a_stated_time() {
    let mut world = World::with(Limits { unread_timeout: 20_000, ..Limits::default() });
    let clients = [passing("c"), Connect::new(V311, "d")].map(|connect| world.connect(connect));
    for client in clients {
        world.lines[client.0].stuck = true;
        world.send(client, Packet::Pingreq);
    }
    world.pass(20_000);
    clients.iter().for_each(|client| assert_eq!(world.got(*client), []));
    world.unstick(clients[0]);
    world.pass(1);
    assert_eq!(world.got(clients[0]), [Got::Pingresp]);
    assert_eq!(world.got(clients[1]), [Got::Closed]);
}
