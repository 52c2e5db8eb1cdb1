//! Who is let in: nothing of a Session is touched before a Client has proven who it is, and a Session belongs to the user
//! who made it.

use std::collections::BTreeSet;

use super::*;
use crate::access::{ClientIdOwner, Policy};
use crate::peer::Certificate;

/// Whoever gives a user name has to prove it.
fn proving() -> Policy {
    Policy { authenticates: true, ..Policy::default() }
}

fn world() -> World {
    let mut world = World::new();
    world.set_access(Access::new(vec![], proving()));
    world
}

fn accepted(present: bool) -> Got {
    Got::Connack(ReasonCode::Success, present)
}

fn refused(reason: ReasonCode) -> [Got; 2] {
    [Got::Connack(reason, false), Got::Closed]
}

fn as_user<'a>(user: &'a str, connect: Connect<'a>) -> Connect<'a> {
    Connect { username: Some(user), password: Some(b"secret"), ..connect }
}

#[test]
fn a_client_that_names_a_user_waits_for_the_verdict_and_nothing_is_read_meanwhile() {
    let mut world = world();
    let client = world.join(as_user("ann", passing("a")));
    assert!(world.got(client).is_empty() && !world.is_reading(client));
    let asked = world.unproven();
    let said: Vec<_> = asked.iter().map(|one| (&*one.user, &*one.password, &*one.client_id)).collect();
    assert_eq!(said, [("ann", &b"secret"[..], "a")]);
    let principal = Principal { user: Some("ann".into()), proof: Proof::Password };
    world.prove(&asked[0], Verdict::Granted(principal));
    assert_eq!(world.got(client), [accepted(false)]);
    assert!(world.is_reading(client));
}

#[test]
fn what_is_sent_behind_connect_is_taken_up_after_the_verdict() {
    let mut world = world();
    let client = world.accept(V5);
    let mut bytes = Vec::new();
    Packet::Connect(as_user("ann", passing("a"))).encode(V5, &mut bytes).unwrap();
    Packet::Pingreq.encode(V5, &mut bytes).unwrap();
    world.send_bytes(client, &bytes);
    world.settle();
    assert_eq!(world.got(client), []);
    let asked = world.unproven();
    world.prove(&asked[0], Verdict::Granted(Principal::ANONYMOUS));
    assert_eq!(world.got(client), [accepted(false), Got::Pingresp]);
}

#[test]
fn a_client_that_is_not_believed_leaves_the_session_and_its_connection_alone() {
    // mosquitto 3553: a failed authentication with Clean Start has wiped the Session.
    let mut world = world();
    let owner = world.join_as("ann", lasting("a"));
    world.got(owner);
    world.subscribe(owner, "x/y", SubscriptionOptions::new(QoS::AtLeastOnce));
    world.got(owner);
    let stranger = world.join(as_user("ann", Connect { clean_start: true, ..lasting("a") }));
    let asked = world.unproven();
    world.prove(&asked[0], Verdict::Refused(ReasonCode::BadUserNameOrPassword));
    assert_eq!(world.got(stranger), refused(ReasonCode::BadUserNameOrPassword));
    let publisher = world.join_as("bob", passing("p"));
    world.got(publisher);
    world.publish(publisher, publish("x/y", "still here", 0));
    assert_eq!(world.payloads(owner), ["still here"]);
    world.cut_and_settle(owner);
    let back = world.join_as("ann", lasting("a"));
    assert_eq!(world.got(back), [accepted(true)]);
}

#[test]
fn refusals_are_said_in_the_words_of_the_version() {
    let reasons =
        [(ReasonCode::BadUserNameOrPassword, 4), (ReasonCode::NotAuthorized, 5), (ReasonCode::ServerBusy, 3)];
    for (reason, code) in reasons {
        for (version, said) in [
            (V5, vec![0x20, 3, 0, reason as u8, 0]),
            (V311, vec![0x20, 2, 0, code]),
            (V31, vec![0x20, 2, 0, code]),
        ] {
            let mut world = world();
            let client = world.accept(version);
            world.bytes(client);
            let connect = as_user("ann", Connect::new(version, "a"));
            let mut bytes = Vec::new();
            Packet::Connect(connect).encode(version, &mut bytes).unwrap();
            world.send_bytes(client, &bytes);
            let asked = world.unproven();
            world.prove(&asked[0], Verdict::Refused(reason));
            assert_eq!(world.bytes(client), (said, true), "{reason:?} {version:?}");
        }
    }
}

#[test]
fn a_client_that_has_gone_meanwhile_is_no_matter() {
    let mut world = world();
    let client = world.join(as_user("ann", lasting("a")));
    let asked = world.unproven();
    world.cut_and_settle(client);
    let next = world.join(as_user("bob", lasting("b")));
    // It has the place of the one before.
    world.prove(&asked[0], Verdict::Granted(Principal::ANONYMOUS));
    assert_eq!(world.got(next), []);
}

#[test]
fn a_verdict_that_does_not_come_is_waited_for_no_longer_than_a_connect() {
    let mut world = world();
    let client = world.join(as_user("ann", lasting("a")));
    world.pass(world.options.limits.connect_timeout + 1_000);
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::ServerBusy, false), Got::Closed]);
}

#[test]
fn nobody_in_particular_is_let_in_only_where_that_is_said() {
    let mut world = world();
    let client = world.join(passing("a"));
    assert_eq!(world.got(client), refused(ReasonCode::NotAuthorized));
    world.listener =
        Arc::new(Listener { allow_anonymous: Some(true), ..Listener::new("open", Transport::Tcp) });
    let client = world.join(passing("a"));
    assert_eq!(world.got(client), [accepted(false)]);
    // Whoever gives a name there has to prove it all the same.
    let client = world.join(as_user("ann", passing("b")));
    assert_eq!((world.got(client), world.unproven().len()), (vec![], 1));
    // Where nobody could, a name is not taken for true.
    world.set_access(Access::default());
    let client = world.join(as_user("ann", lasting("c")));
    assert_eq!(world.got(client), [accepted(false)]);
    let client = world.join(as_user("bob", lasting("c")));
    assert_eq!(world.got(client), [accepted(true)]);
}

#[test]
fn the_common_name_of_a_certificate_is_the_user_whatever_connect_says() {
    let mut world = world();
    let listener = Listener { certificate_is_user_name: true, ..Listener::new("tls", Transport::Tls) };
    world.listener = Arc::new(listener);
    let join = |world: &mut World, name: Option<&str>, user| {
        let certificate = Certificate { common_name: name.map(Into::into), ..Certificate::default() };
        let shard = world.lines.len() % world.shards.len();
        let client = world.accept(V5);
        let key = world.lines[client.0].key.unwrap();
        world.shards[shard].outlet.edge.connections[key as usize].peer.certificate =
            Some(Arc::new(certificate));
        world.send_and_settle(client, Packet::Connect(as_user(user, lasting("a"))));
        (world.got(client), world.unproven().len())
    };
    assert_eq!(join(&mut world, Some("car-1"), "car-1"), (vec![accepted(false)], 0));
    assert_eq!(join(&mut world, Some("car-2"), "car-1"), (refused(ReasonCode::NotAuthorized).into(), 0));
    assert_eq!(join(&mut world, Some("car-1"), "x"), (vec![accepted(true)], 0));
    assert_eq!(join(&mut world, None, "car-1"), (refused(ReasonCode::NotAuthorized).into(), 0));
}

#[test]
fn the_session_of_another_user_is_neither_resumed_nor_ended_nor_taken_over() {
    // CVE-2026-6564
    for connected in [true, false] {
        let mut world = world();
        let ann = world.join_as("ann", lasting("car"));
        world.got(ann);
        world.subscribe(ann, "cmd/car", SubscriptionOptions::new(QoS::AtLeastOnce));
        world.got(ann);
        if !connected {
            world.cut_and_settle(ann);
            world.restart();
        }
        for theirs in [lasting("car"), passing("car"), Connect { clean_start: true, ..lasting("car") }] {
            let bob = world.join_as("bob", theirs);
            assert_eq!(world.got(bob), refused(ReasonCode::NotAuthorized));
        }
        let bob = world.join_as("bob", Connect { clean_start: false, ..Connect::new(V311, "car") });
        assert_eq!(world.got(bob), refused(ReasonCode::NotAuthorized));
        if connected {
            assert_eq!(world.got(ann), []);
        }
        let back = world.join_as("ann", lasting("car"));
        assert_eq!(world.got(back), [accepted(true)]);
    }
}

#[test]
fn a_session_belongs_to_its_user_while_it_lasts_and_one_of_nobody_to_whoever_takes_it_up() {
    let mut world = world();
    world.listener =
        Arc::new(Listener { allow_anonymous: Some(true), ..Listener::new("open", Transport::Tcp) });
    let nobody = world.connect(lasting("car"));
    world.cut_and_settle(nobody);
    let ann = world.join_as("ann", lasting("car"));
    assert_eq!(world.got(ann), [accepted(true)]);
    // Now it is Ann's.
    let nobody = world.join(lasting("car"));
    assert_eq!(world.got(nobody), refused(ReasonCode::NotAuthorized));
    world.cut_and_settle(ann);
    world.pass(2 * HOUR);
    let bob = world.join_as("bob", lasting("car"));
    assert_eq!(world.got(bob), [accepted(false)]);
}

#[test]
fn sessions_may_be_left_to_whoever_knows_their_names() {
    let mut world = World::new();
    world.set_access(Access::new(vec![], Policy { client_id_owner: ClientIdOwner::Any, ..proving() }));
    let ann = world.join_as("ann", lasting("car"));
    world.got(ann);
    let bob = world.join_as("bob", lasting("car"));
    assert_eq!(world.got(bob), [accepted(true)]);
    assert_eq!(world.got(ann), [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed]);
}

#[test]
fn connections_of_users_that_are_gone_end() {
    let mut world = world();
    let ann = world.join_as("ann", lasting("a"));
    let bob = world.join_as("bob", lasting("b"));
    world.got(ann);
    world.got(bob);
    let gone = Arc::new(BTreeSet::from(["ann".to_owned(), "nobody".to_owned()]));
    for shard in &mut world.shards {
        shard.revoke(world.now, &gone);
    }
    world.settle();
    assert_eq!(world.got(ann), [Got::Disconnect(ReasonCode::NotAuthorized), Got::Closed]);
    assert_eq!(world.got(bob), []);
}

#[test]
fn an_authentication_method_that_is_not_known_is_refused_before_anything_else() {
    // [MQTT-4.12.0-1]
    let mut world = world();
    let mut connect = as_user("ann", lasting("a"));
    connect.properties.authentication_method = Some("SCRAM-SHA-256");
    let client = world.join(connect);
    assert_eq!(world.got(client), refused(ReasonCode::BadAuthenticationMethod));
    assert!(world.unproven().is_empty());
}

#[test]
fn an_auth_packet_of_no_exchange_is_a_protocol_error() {
    // [MQTT-4.12.0-6]
    let mut world = World::new();
    let (bytes, closed) = world.exchange(passing("a"), &hex("f0 00"));
    assert_eq!((bytes, closed), (hex("e0 01 82"), true));
}
