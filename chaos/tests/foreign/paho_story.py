"""Stories told by paho-mqtt: a Client that nobody of this house wrote.

    paho_story.py --port PORT --version 31|311|5 --transport tcp|tls|mtls|ws|wss [--ca FILE --cert FILE --key FILE] STORY...

All stories are told at once, on topics of their own. Exits 0 if everything was as MQTT says it should be; else says what
was not.
"""

import argparse
import collections
import os
import sys
import threading
import time
import traceback

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from paho_peer import KINDS, LIMIT, Peer


def levels(options):
    """QoS 0, 1 and 2, published and subscribed to in every combination: the lower of the two is delivered."""
    publisher = Peer(options, "levels-from").connect()
    for granted in (0, 1, 2):
        subscriber = Peer(options, f"levels-to-{granted}").connect()
        subscriber.subscribe(f"levels/{options.version}/#", granted)
        for qos in (0, 1, 2):
            publisher.publish(f"levels/{options.version}/{qos}", b"%d" % qos, qos)
            subscriber.expect([(f"levels/{options.version}/{qos}", b"%d" % qos, min(qos, granted), False)])
        subscriber.unsubscribe(f"levels/{options.version}/#")
        publisher.publish(f"levels/{options.version}/0", b"gone", 1)
        subscriber.expect([])
        subscriber.disconnect()
    publisher.disconnect()


def wildcards(options):
    root = f"wild{options.version}"
    publisher = Peer(options, "wild-from").connect()
    subscriber = Peer(options, "wild-to").connect()
    for topic in (f"{root}/+/speed", f"{root}/van-1/door/#"):
        subscriber.subscribe(topic, 1)
    for topic in ("van-1/speed", "van-2/speed", "van-1/door", "van-1/door/left/lock", "van-1/speed/max", "speed"):
        publisher.publish(f"{root}/{topic}", topic.encode(), 1)
    taken = ("van-1/speed", "van-2/speed", "van-1/door", "van-1/door/left/lock")
    subscriber.wait("the matching messages", lambda: len(subscriber.messages) >= len(taken))
    # Order holds per topic, and these are four.
    subscriber.messages.sort(key=lambda message: taken.index(message.payload.decode()))
    subscriber.expect([(f"{root}/{topic}", topic.encode(), 1, False) for topic in taken])
    publisher.disconnect()
    subscriber.disconnect()


def retained(options):
    topic = f"retained/{options.version}/door"
    publisher = Peer(options, "retained-from").connect()
    publisher.publish(topic, b"open", 1, retain=True)
    publisher.publish(topic, b"shut", 2, retain=True)
    for qos in (0, 1, 2):
        late = Peer(options, f"retained-to-{qos}").connect()
        late.subscribe(topic, qos)
        late.expect([(topic, b"shut", qos, True)])
        publisher.publish(topic, b"shut", 2, retain=True)
        late.expect([(topic, b"shut", qos, False)])
        late.disconnect()
    publisher.publish(topic, b"", 1, retain=True)
    late = Peer(options, "retained-last").connect()
    late.subscribe(f"retained/{options.version}/#", 1)
    late.expect([])
    late.disconnect()
    publisher.disconnect()


def will(options):
    topic = f"will/{options.version}/van"
    watcher = Peer(options, "will-to").connect()
    watcher.subscribe(topic, 2)
    for qos in (0, 1, 2):
        van = Peer(options, "will-from", will={"topic": topic, "payload": b"lost", "qos": qos}).connect()
        van.disconnect()
        watcher.expect([])
        van = Peer(options, "will-from", will={"topic": topic, "payload": b"lost", "qos": qos}).connect()
        van.vanish()
        watcher.expect([(topic, b"lost", qos, False)])
    watcher.disconnect()


def large(options):
    """A payload near the largest packet, at every QoS."""
    payload = bytes(range(256)) * 4000
    topic = f"large/{options.version}"
    subscriber = Peer(options, "large-to").connect()
    subscriber.subscribe(topic, 2)
    publisher = Peer(options, "large-from").connect()
    for qos in (0, 1, 2):
        publisher.publish(topic, payload, qos)
        subscriber.expect([(topic, payload, qos, False)])
    publisher.publish(topic, b"", 1)
    subscriber.expect([(topic, b"", 1, False)])
    publisher.disconnect()
    subscriber.disconnect()


def resume(options):
    """A lasting Session gets what came while it was away: once, in order, at QoS 1 and 2, and none of it twice."""
    topic = f"resume/{options.version}"
    van = Peer(options, "resume-to", clean=False).connect()
    van.expect_session(False)
    van.subscribe(f"{topic}/#", 2)
    van.disconnect()
    publisher = Peer(options, "resume-from").connect()
    expected = []
    for qos in (1, 2):
        payloads = [b"%d" % at for at in range(200)]
        publisher.publish_all(f"{topic}/{qos}", payloads, qos)
        expected += [(f"{topic}/{qos}", payload, qos, False) for payload in payloads]
    for turn in range(2):
        back = Peer(options, "resume-to", clean=False)
        back.connect()
        back.expect_session(True)
        back.wait("the queue", lambda: len(back.messages) >= (len(expected) if turn == 0 else 0))
        # Two topics: order holds in each.
        back.messages.sort(key=lambda message: message.topic)
        back.expect(expected if turn == 0 else [])
        back.disconnect()
    clean = Peer(options, "resume-to", clean=True).connect()
    clean.expect_session(False)
    publisher.publish(f"{topic}/1", b"late", 1)
    clean.expect([])
    clean.disconnect()
    publisher.disconnect()


def many(options):
    """Two publishers at once: order per publisher, nothing missing, nothing twice."""
    topic = f"many/{options.version}"
    subscriber = Peer(options, "many-to").connect()
    subscriber.subscribe(f"{topic}/#", 2)
    publishers = [Peer(options, f"many-from-{at}").connect() for at in range(2)]
    count = 500
    threads = [
        threading.Thread(target=peer.publish_all, args=(f"{topic}/{at}", [b"%d" % n for n in range(count)], at + 1))
        for at, peer in enumerate(publishers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subscriber.wait("all messages", lambda: len(subscriber.messages) >= 2 * count)
    by_topic = collections.defaultdict(list)
    for message in subscriber.messages:
        by_topic[message.topic].append(int(message.payload))
    for at in range(2):
        assert by_topic[f"{topic}/{at}"] == list(range(count)), f"publisher {at}: {by_topic[f'{topic}/{at}'][:20]}..."
    for peer in (subscriber, *publishers):
        peer.disconnect()


def shared(options):
    """One member of a group gets a message; together they get all of them."""
    topic = f"shared/{options.version}"
    members = [Peer(options, f"shared-{at}").connect() for at in range(3)]
    for member in members:
        member.subscribe(f"$share/crew/{topic}/#", 1)
    publisher = Peer(options, "shared-from").connect()
    payloads = [b"%d" % at for at in range(60)]
    publisher.publish_all(f"{topic}/job", payloads, 1)
    until = time.monotonic() + LIMIT
    while sum(len(member.messages) for member in members) < len(payloads) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.15)
    seen = sorted(int(message.payload) for member in members for message in member.messages)
    assert seen == list(range(60)), f"the group got {seen}"
    assert sum(1 for member in members if member.messages) > 1, "one member did all the work"
    for peer in (publisher, *members):
        peer.disconnect()


def properties(options):
    """What a publisher says of its message arrives as it was, User Properties in their order."""
    topic = f"properties/{options.version}"
    said = Properties(PacketTypes.PUBLISH)
    said.PayloadFormatIndicator = 1
    said.ContentType = "application/json"
    said.ResponseTopic = "properties/answer"
    said.CorrelationData = bytes(range(32))
    said.MessageExpiryInterval = 60
    said.UserProperty = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("\u00e9", "\u4f60\u597d")]
    subscriber = Peer(options, "properties-to").connect()
    subscriber.subscribe(topic, 2)
    publisher = Peer(options, "properties-from").connect()
    for qos in (0, 1, 2):
        publisher.publish(topic, b"{}", qos, properties=said)
        subscriber.wait("the message", lambda: subscriber.messages)
        heard = subscriber.messages.pop().properties
        for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty"):
            assert getattr(heard, name) == getattr(said, name), f"{name}: {getattr(heard, name)}"
        assert 58 <= heard.MessageExpiryInterval <= 60, heard.MessageExpiryInterval
    subscriber.disconnect()
    publisher.disconnect()


def identifiers(options):
    """A message says which of the Client's Subscriptions it came for."""
    root = f"identifiers/{options.version}"
    subscriber = Peer(options, "identifiers-to").connect()
    subscriber.subscribe(f"{root}/+/x", 1, identifier=7)
    subscriber.subscribe(f"{root}/a/#", 1, identifier=268435455)
    publisher = Peer(options, "identifiers-from").connect()
    publisher.publish(f"{root}/b/x", b"one", 1)
    subscriber.wait("the message", lambda: subscriber.messages)
    assert subscriber.messages.pop().properties.SubscriptionIdentifier == [7]
    publisher.publish(f"{root}/a/x", b"both", 1)
    # One copy with both or two with one each: the Server may choose.
    heard = lambda: [at for message in subscriber.messages for at in message.properties.SubscriptionIdentifier]
    subscriber.wait("the message for both", lambda: len(heard()) == 2)
    assert sorted(heard()) == [7, 268435455], heard()
    subscriber.disconnect()
    publisher.disconnect()


def alias(options):
    """A Topic Alias stands for the topic that it was sent with."""
    topic = f"alias/{options.version}/a/long/topic/of/a/vehicle"
    subscriber = Peer(options, "alias-to").connect()
    subscriber.subscribe(topic, 1)
    publisher = Peer(options, "alias-from").connect()
    short = Properties(PacketTypes.PUBLISH)
    short.TopicAlias = 1
    for at, name in enumerate((topic, "", "")):
        publisher.publish(name, b"%d" % at, 1, properties=short)
    subscriber.expect([(topic, b"%d" % at, 1, False) for at in range(3)])
    subscriber.disconnect()
    publisher.disconnect()


def expiry(options):
    """A queued message loses the time that it waited, and is gone when there is none left; so is a Session."""
    topic = f"expiry/{options.version}"
    van = Peer(options, "expiry-to", clean=False).connect()
    van.subscribe(f"{topic}/#", 1)
    van.disconnect()
    brief = Peer(options, "expiry-brief", clean=False, expiry=1).connect()
    brief.disconnect()
    publisher = Peer(options, "expiry-from").connect()
    for seconds in (1, 60):
        said = Properties(PacketTypes.PUBLISH)
        said.MessageExpiryInterval = seconds
        publisher.publish(f"{topic}/{seconds}", b"", 1, properties=said)
    time.sleep(2.5)
    van = Peer(options, "expiry-to", clean=False).connect()
    van.expect_session(True)
    van.wait("the message that lasts", lambda: van.messages)
    remaining = van.messages[0].properties.MessageExpiryInterval
    assert 55 <= remaining <= 58, f"{remaining} s remain"
    van.expect([(f"{topic}/60", b"", 1, False)])
    brief = Peer(options, "expiry-brief", clean=False).connect()
    brief.expect_session(False)
    for peer in (van, brief, publisher):
        peer.disconnect()


def will_delay(options):
    """A Will waits for its delay, and is not published when its Client is back before."""
    topic = f"will-delay/{options.version}"
    delayed = Properties(PacketTypes.WILLMESSAGE)
    delayed.WillDelayInterval = 2
    will = {"topic": topic, "payload": b"lost", "qos": 1, "properties": delayed}
    watcher = Peer(options, "delay-watch").connect()
    watcher.subscribe(topic, 1)
    van = Peer(options, "delay-van", clean=False, will=will).connect()
    van.vanish()
    time.sleep(0.5)
    van = Peer(options, "delay-van", clean=False, will=will).connect()
    time.sleep(2.5)
    watcher.expect([])
    began = time.monotonic()
    van.vanish()
    watcher.expect([(topic, b"lost", 1, False)])
    waited = time.monotonic() - began
    assert waited >= 2, f"published after {waited:.1f} s"
    watcher.disconnect()


def access(options):
    """Who one is, what one may do, and how a refusal is said in each version. For a node with the users and rules of it."""
    ann, bob = ("ann", "secret of ann"), ("bob", "secret of bob")
    refusals = ((("ann", "wrong"), 134), (("nobody", "secret of ann"), 134), (None, 135))
    for user, code in refusals:
        stranger = Peer(options, "access-stranger", user=user).knock()
        # paho says a Return Code of 3.x as the Reason Code of 5.0 that means the same.
        assert stranger.connack.value in (code, 134), f"{user}: {stranger.connack}"
        assert stranger.connack.is_failure, f"{user} was let in"
        stranger.client.loop_stop()
    mine = Peer(options, "access-ann", clean=False, user=ann).connect()
    mine.subscribe("own/ann/#", 1)
    refused = mine.ask("own/#", 1)
    assert refused == [135 if mine.v5 else 128], f"own/#: {refused}"
    yours = Peer(options, "access-bob", user=bob).connect()
    denied = yours.publish("own/ann/door", b"open", 1)
    assert denied.value == (135 if yours.v5 else 0), f"own/ann/door: {denied}"
    mine.publish("own/ann/door", b"shut", 1)
    # Of bob's nothing came, although 3.x was told that it was taken.
    mine.expect([("own/ann/door", b"shut", 1, False)])
    mine.disconnect()
    thief = Peer(options, "access-ann", clean=False, user=bob).knock()
    assert thief.connack.value == 135, f"another one's Session: {thief.connack}"
    thief.client.loop_stop()
    will = {"topic": "own/ann/last", "payload": b"", "qos": 1}
    ghost = Peer(options, "access-ghost", user=bob, will=will).knock()
    assert ghost.connack.value == 135, f"another one's topic as a Will: {ghost.connack}"
    ghost.client.loop_stop()
    back = Peer(options, "access-ann", clean=False, user=ann).connect()
    back.expect_session(True)
    back.disconnect()
    yours.disconnect()


EVERYWHERE = (levels, wildcards, retained, will, large, resume, many)
ONLY_5_0 = (shared, properties, identifiers, alias, expiry, will_delay)
STORIES = {story.__name__: story for story in (*EVERYWHERE, *ONLY_5_0, access)}


def tell(options, story, failures):
    try:
        STORIES[story](options)
    except (AssertionError, OSError) as error:
        failures.append(f"{story}: {error}")
    except Exception:  # A thread that dies without a word would count as a story that went well.
        failures.append(f"{story}: {traceback.format_exc()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", type=int, choices=KINDS, required=True)
    parser.add_argument("--transport", choices=("tcp", "tls", "mtls", "ws", "wss"), default="tcp")
    for file in ("--ca", "--cert", "--key"):
        parser.add_argument(file)
    parser.add_argument("stories", nargs="*", metavar="STORY")
    options = parser.parse_args()
    stories = options.stories or [
        story.__name__ for story in EVERYWHERE + (ONLY_5_0 if options.version == 5 else ())
    ]
    failures = []
    tellers = [threading.Thread(target=tell, args=(options, story, failures)) for story in stories]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(stories) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    # Threads of a client that hangs do not keep the stories from ending.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
