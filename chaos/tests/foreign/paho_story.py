"""One story told by paho-mqtt: a Client that nobody of this house wrote.

    paho_story.py --port PORT --version 311|5 STORY

Exits 0 if everything was as MQTT says it should be; else says what was not.
"""

import argparse
import collections
import os
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

LIMIT = 20  # seconds that anything may take


class Peer:
    """A paho client that waits for events instead of sleeping."""

    def __init__(self, options, name, clean=True, will=None):
        self.v5 = options.version == 5
        self.options = options
        self.clean = clean
        self.name = f"{name}-{options.version}"
        self.changed = threading.Condition()
        self.messages = []
        self.answers = {}
        self.published = {}
        self.connack = None
        self.session_present = None
        self.closed = False
        kind = mqtt.MQTTv5 if self.v5 else mqtt.MQTTv311
        extra = {} if self.v5 else {"clean_session": clean}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, self.name, protocol=kind, **extra)
        self.client.max_inflight_messages_set(20)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_answer
        self.client.on_unsubscribe = self._on_answer
        self.client.on_publish = self._on_publish
        if will:
            self.client.will_set(**will)

    def _note(self, change):
        with self.changed:
            change()
            self.changed.notify_all()

    def _on_connect(self, _client, _data, flags, reason, _properties):
        def change():
            self.connack, self.session_present = reason, flags.session_present
        self._note(change)

    def _on_disconnect(self, *_arguments):
        self._note(lambda: setattr(self, "closed", True))

    def _on_message(self, _client, _data, message):
        self._note(lambda: self.messages.append(message))

    def _on_answer(self, _client, _data, mid, reasons, _properties):
        self._note(lambda: self.answers.__setitem__(mid, reasons))

    def _on_publish(self, _client, _data, mid, reason, _properties):
        self._note(lambda: self.published.__setitem__(mid, reason))

    def wait(self, what, condition, limit=LIMIT):
        with self.changed:
            if not self.changed.wait_for(condition, limit):
                raise AssertionError(f"{self.name}: {what} did not come in {limit} s")

    def connect(self):
        self.connack, self.closed = None, False
        extra = {}
        if self.v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 3600
            extra = {"clean_start": self.clean, "properties": properties}
        self.client.connect("127.0.0.1", self.options.port, keepalive=30, **extra)
        self.client.loop_start()
        self.wait("CONNACK", lambda: self.connack is not None)
        assert not self.connack.is_failure, f"{self.name} was refused: {self.connack}"
        return self

    def disconnect(self):
        self.client.disconnect()
        self.wait("the end of the connection", lambda: self.closed)
        self.client.loop_stop()

    def vanish(self):
        """Drops the socket without a DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()

    def subscribe(self, topic, qos):
        _, mid = self.client.subscribe(topic, qos)
        self.wait(f"SUBACK for {topic}", lambda: mid in self.answers)
        granted = [reason.value for reason in self.answers[mid]]
        assert granted == [qos], f"{topic}: granted {granted} instead of {qos}"

    def unsubscribe(self, topic):
        _, mid = self.client.unsubscribe(topic)
        self.wait(f"UNSUBACK for {topic}", lambda: mid in self.answers)

    def publish(self, topic, payload, qos, retain=False):
        info = self.client.publish(topic, payload, qos, retain)
        self.wait(f"the acknowledgement of {topic}", lambda: info.mid in self.published)

    def publish_all(self, topic, payloads, qos):
        mids = [self.client.publish(topic, payload, qos).mid for payload in payloads]
        self.wait("all acknowledgements", lambda: all(mid in self.published for mid in mids))

    def expect(self, expected):
        """Exactly these (topic, payload, QoS, RETAIN), in this order."""
        self.wait(f"{len(expected)} messages", lambda: len(self.messages) >= len(expected))
        time.sleep(0.15)  # One too many would follow at once.
        with self.changed:
            seen = [(m.topic, m.payload, m.qos, bool(m.retain)) for m in self.messages]
            self.messages.clear()
        assert seen == expected, f"{self.name} got {short(seen)} instead of {short(expected)}"


def short(messages):
    return [(topic, payload[:24], qos, retain) for topic, payload, qos, retain in messages[:12]]


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
    assert not van.session_present, "a Session was there before it was made"
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
        assert back.session_present, "Session Present was 0 on resume"
        back.wait("the queue", lambda: len(back.messages) >= (len(expected) if turn == 0 else 0))
        # Two topics: order holds in each.
        back.messages.sort(key=lambda message: message.topic)
        back.expect(expected if turn == 0 else [])
        back.disconnect()
    clean = Peer(options, "resume-to", clean=True).connect()
    assert not clean.session_present, "Session Present was 1 on Clean Start"
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


STORIES = {story.__name__: story for story in (levels, wildcards, retained, will, large, resume, many)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", type=int, choices=(311, 5), required=True)
    parser.add_argument("story", choices=STORIES)
    options = parser.parse_args()
    try:
        STORIES[options.story](options)
    except AssertionError as error:
        print(f"{options.story} ({options.version}): {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Threads of a client that hangs do not keep the story from ending.
    code = main()
    sys.stderr.flush()
    os._exit(code)
