//! Little room on the disk, or none: what is refused, and that whoever comes to read is served.

use super::*;

fn will(payload: &[u8]) -> convoy_wire::Will<'_> {
    will_on("will", payload)
}

const REFUSED: [Got; 2] = [Got::Connack(ReasonCode::QuotaExceeded, false), Got::Closed];
const RESUMED: [Got; 1] = [Got::Connack(ReasonCode::Success, true)];

#[test]
fn with_little_room_sessions_are_resumed_and_none_that_lasts_begins() {
    // Whether the shard has seen it before the first CONNECT or sees it when the record is to be made.
    for seen in [true, false] {
        let mut world = World::new();
        let client = world.connect(lasting("known"));
        world.cut_and_settle(client);
        let with_will = world.connect(Connect { will: Some(will(b"gone")), ..lasting("known with a Will") });
        world.engine.leave_free(1000);
        if seen {
            world.pass(100);
        }
        let mut answers = |connect| {
            let client = world.join(connect);
            world.got(client)
        };
        assert_eq!(answers(lasting("new")), REFUSED);
        assert_eq!(answers(Connect { will: Some(will(b"gone")), ..passing("also new") }), REFUSED);
        assert_eq!(answers(Connect { clean_start: false, ..Connect::new(V311, "old") })[1..], [Got::Closed]);
        assert_eq!(answers(passing("reader")), [Got::Connack(ReasonCode::Success, false)]);
        assert_eq!(answers(lasting("known")), RESUMED);
        // Nothing new is to be kept of a Will that the Session has; of a larger one there is.
        assert_eq!(answers(Connect { will: Some(will(b"larger")), ..lasting("known with a Will") }), REFUSED);
        assert_eq!(answers(Connect { will: Some(will(b"left")), ..lasting("known with a Will") }), RESUMED);
        let taken_over = [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed];
        assert_eq!(world.got(with_will), taken_over);

        world.engine.leave_free(u64::MAX);
        world.pass(100);
        world.connect(lasting("new"));
    }
}

#[test]
fn a_session_that_has_expired_is_none_that_is_resumed() {
    let mut world = World::new();
    let properties = ConnectProperties { session_expiry_interval: Some(1), ..Default::default() };
    let brief = || Connect { properties, ..lasting("brief") };
    let client = world.connect(brief());
    world.cut_and_settle(client);
    world.engine.leave_free(1000);
    world.now.wall += 1_001;
    let client = world.join(brief());
    assert_eq!(world.got(client), REFUSED);
}

#[test]
fn a_shard_says_that_room_is_scarce_before_anybody_is_refused() {
    let mut world = World::new();
    world.engine.leave_free(1000);
    world.pass(100);
    assert!(world.shards.iter().all(|shard| shard.observe().stalled));
    world.engine.leave_free(u64::MAX);
    world.pass(100);
    assert!(!world.shards.iter().any(|shard| shard.observe().stalled));
}

#[test]
fn with_little_room_only_new_subscriptions_are_refused() {
    let mut world = World::new();
    let client = world.subscriber(lasting("s"), &["a", "b"]);
    world.engine.leave_free(1000);
    let mut suback = |filter, qos| {
        world.subscribe_by(client, filter, SubscriptionOptions::new(qos), None);
        world.got(client)
    };
    assert_eq!(suback("a", QoS::ExactlyOnce), [Got::Suback(77, vec![ReasonCode::GrantedQoS2])]);
    assert_eq!(suback("a", QoS::AtLeastOnce), [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]);
    assert_eq!(suback("c", QoS::AtLeastOnce), [Got::Suback(77, vec![ReasonCode::QuotaExceeded])]);
    world.unsubscribe(client, &["b", "nothing"]);
    let told = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    assert_eq!(world.got(client), [Got::Unsuback(78, told)]);
}

#[test]
fn retained_messages_for_a_queue_wait_for_room_and_others_do_not() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    world.publish(publisher, Publish { retain: true, ..publish("a", "1", 1) });
    let lasts = world.subscriber(lasting("lasts"), &["a"]);
    let passes = world.connect(passing("passes"));
    assert_eq!(world.payloads(lasts), ["1"]);
    world.engine.leave_free(1000);
    world.pass(100);
    world.subscribe_by(lasts, "a", SubscriptionOptions::new(QoS::AtLeastOnce), None);
    assert_eq!(world.got(lasts), [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]);
    world.subscribe_by(passes, "a", SubscriptionOptions::new(QoS::AtLeastOnce), None);
    assert_eq!(world.got(passes), [Got::Suback(77, vec![ReasonCode::QuotaExceeded])]);
    world.engine.leave_free(u64::MAX);
    world.pass(100);
    assert_eq!(world.payloads(lasts), ["1"]);
}

#[test]
fn with_little_room_a_retained_message_may_be_deleted() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    world.publish(publisher, Publish { retain: true, ..publish("a", "1", 1) });
    for seen in [false, true] {
        world.engine.leave_free(1000);
        if seen {
            world.pass(100);
        }
        world.publish(publisher, Publish { retain: true, ..publish("a", "", 2) });
        world.publish(publisher, Publish { retain: true, ..publish("b", "1", 3) });
    }
    let puback = |id, reason| Got::Puback(id, reason);
    let (done, refused) = (puback(2, ReasonCode::Success), puback(3, ReasonCode::QuotaExceeded));
    let expected = [puback(1, ReasonCode::Success), done.clone(), refused.clone(), done, refused];
    assert_eq!(world.got(publisher), expected);
}

#[test]
fn a_refusal_is_said_in_codes_that_its_packet_may_have() {
    // MQTT 5.0, 3.11.3: UNSUBACK knows no Quota exceeded.
    let mut world = World::new();
    let kept = world.subscriber(lasting("kept"), &["a"]);
    let publisher = world.connect(passing("p"));
    world.engine.set_full(true);
    world.publish(publisher, publish("a", "1", 1));
    world.unsubscribe(kept, &["a"]);
    assert_eq!(world.got(kept), [Got::Unsuback(78, vec![ReasonCode::ImplementationSpecificError])]);
}
