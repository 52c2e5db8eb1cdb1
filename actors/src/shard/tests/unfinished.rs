//! Packets that do not come whole take their share of memory and no more.

use super::*;

const SHARE: usize = 1 << 20;

/// The beginning of a packet that will have 120,000 bytes.
fn beginning(first: u8) -> Vec<u8> {
    let mut bytes = vec![first, 0xC0, 0xA9, 0x07];
    bytes.resize(100_000, 0);
    bytes
}

fn world() -> World {
    World::with(Limits { unfinished_bytes: SHARE, ..Limits::default() })
}

fn held(world: &World) -> usize {
    let connections = &world.shards[0].outlet.edge.connections;
    connections.iter().map(|(_, connection)| connection.input.capacity()).sum()
}

#[test]
fn strangers_hold_a_quarter_of_the_share() {
    let mut world = world();
    let strangers: Vec<_> = (0..50).map(|_| world.accept(V5)).collect();
    for stranger in &strangers {
        world.send_bytes(*stranger, &beginning(0x10));
    }
    let closed = strangers.iter().filter(|stranger| world.got(**stranger) == [Got::Closed]).count();
    assert_eq!((closed, held(&world)), (48, 200_000));
    // Those that go give back what they held.
    for stranger in strangers {
        if world.lines[stranger.0].key.is_some() {
            world.cut(stranger);
        };
    }
    let again = world.accept(V5);
    world.send_bytes(again, &beginning(0x10));
    assert_eq!(world.got(again), []);
}

#[test]
fn strangers_go_before_clients_and_then_whoever_needs_more() {
    let mut world = world();
    let clients: Vec<_> = (0..11).map(|number| world.connect(passing(&format!("client-{number}")))).collect();
    let stranger = world.accept(V5);
    world.send_bytes(stranger, &beginning(0x10));
    for client in &clients[..10] {
        world.send_bytes(*client, &beginning(0x30));
        assert_eq!(world.got(*client), []);
    }
    assert_eq!(world.got(stranger), [Got::Closed]);
    world.send_bytes(clients[10], &beginning(0x30));
    assert_eq!(world.got(clients[10]), [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed]);
    assert!(held(&world) <= SHARE);
    // A packet that has come whole is held no more.
    world.send_bytes(clients[0], &[0; 20_004]);
    world.got(clients[0]);
    let next = world.connect(passing("next"));
    world.send_bytes(next, &beginning(0x30));
    assert_eq!(world.got(next), []);
}

#[test]
fn no_more_strangers_go_than_it_takes() {
    let mut world = world();
    let clients: Vec<_> = (0..10).map(|number| world.connect(passing(&format!("client-{number}")))).collect();
    let strangers: Vec<_> = (0..20).map(|_| world.accept(V5)).collect();
    for stranger in &strangers {
        world.send_bytes(*stranger, &beginning(0x10)[..10_000]);
    }
    for client in &clients {
        world.send_bytes(*client, &beginning(0x30)[..90_000]);
    }
    let closed = strangers.iter().filter(|stranger| world.got(**stranger) == [Got::Closed]).count();
    // Of 1,100,000 bytes so many go as are above the share.
    assert_eq!(closed, (1_100_000_usize - SHARE).div_ceil(10_000));
    assert!(held(&world) <= SHARE);
}

#[test]
fn who_says_little_stays_when_others_have_used_up_the_share() {
    let mut world = world();
    let clients: Vec<_> = (0..10).map(|number| world.connect(passing(&format!("client-{number}")))).collect();
    for client in &clients {
        world.send_bytes(*client, &beginning(0x30));
    }
    let little = world.connect(passing("little"));
    // A PUBLISH of 60,000 bytes, begun: it is what goes beyond the share, and still not what fills it.
    let mut begun = vec![0x30, 0xE0, 0xD4, 0x03];
    begun.resize(50_000, 0);
    world.send_bytes(little, &begun);
    assert_eq!(world.got(little), []);
    let closed = clients.iter().filter(|client| world.got(**client).contains(&Got::Closed)).count();
    assert_eq!(closed, 1);
    assert!(held(&world) <= SHARE);
}
