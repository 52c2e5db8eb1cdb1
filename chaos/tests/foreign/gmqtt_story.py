"""Stories told by gmqtt: an asyncio Client with a codec of its own, that nobody of this house wrote.

    gmqtt_story.py --port PORT --version 311|5 --transport tcp|tls|mtls [--ca FILE --cert FILE --key FILE] [STORY...]

All stories are told at once, on topics of their own. Exits 0 if everything was as MQTT says it should be; else says what
was not.
"""

import argparse
import asyncio
import logging
import ssl
import sys
import time
import traceback

import gmqtt
from gmqtt.mqtt.constants import MQTTv311, MQTTv50

LIMIT = 20  # seconds that anything may take


async def within(what, condition):
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, f"{what} did not come in {LIMIT} s"
        await asyncio.sleep(0.005)


class Peer:
    """One Client Identifier, one connection."""

    def __init__(self, options, name, clean=True, expiry=3600, **more):
        self.options = options
        self.name = f"{name}-{options.version}"
        self.messages = []  # As (topic, payload, QoS, RETAIN, properties).
        self.granted = []
        self.unsubscribed = 0
        self.session_present = None
        if options.version == 5:
            more["session_expiry_interval"] = 0 if clean else expiry
        self.client = gmqtt.Client(self.name, clean_session=clean, **more)
        # A lost connection is a finding here, not something to mend.
        self.client.set_config({"reconnect_retries": 0, "reconnect_delay": 3600})
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda _client, _mid, granted, _properties: self.granted.append(granted)
        self.client.on_unsubscribe = self._on_unsubscribe

    def _on_connect(self, _client, session_present, _code, _properties):
        self.session_present = bool(session_present)

    def _on_unsubscribe(self, *_arguments):
        self.unsubscribed += 1

    def _on_message(self, _client, topic, payload, qos, properties):
        self.messages.append((topic, bytes(payload), qos, bool(properties["retain"]), properties))
        return 0

    async def connect(self):
        secure = False
        if self.options.transport != "tcp":
            secure = ssl.create_default_context(cafile=self.options.ca)
            if self.options.transport == "mtls":
                secure.load_cert_chain(self.options.cert, self.options.key)
        version = MQTTv50 if self.options.version == 5 else MQTTv311
        connecting = self.client.connect("localhost", self.options.port, ssl=secure, version=version)
        await asyncio.wait_for(connecting, LIMIT)
        return self

    async def subscribe(self, topic, qos, **more):
        before = len(self.granted)
        self.client.subscribe(topic, qos, **more)
        await within(f"{self.name}: SUBACK for {topic}", lambda: len(self.granted) > before)
        assert tuple(self.granted[-1]) == (qos,), f"{topic}: granted {self.granted[-1]} instead of {qos}"

    async def unsubscribe(self, topic):
        before = self.unsubscribed
        self.client.unsubscribe(topic)
        await within(f"{self.name}: UNSUBACK for {topic}", lambda: self.unsubscribed > before)

    async def publish(self, topic, payload, qos, **more):
        self.client.publish(topic, payload, qos=qos, **more)
        # Its store of unacknowledged messages is empty when all have their end.
        await asyncio.wait_for(self.client._persistent_storage.wait_empty(), LIMIT)

    async def wait(self, what, condition):
        await within(f"{self.name}: {what}", condition)

    async def expect(self, expected):
        """Exactly these, in this order."""
        await self.wait(f"{len(expected)} messages", lambda: len(self.messages) >= len(expected))
        await asyncio.sleep(0.15)  # One too many would follow at once.
        seen = [message[:4] for message in self.messages]
        self.messages.clear()
        assert seen == expected, f"{self.name} got {short(seen)} instead of {short(expected)}"

    async def end(self):
        try:
            await self.client.disconnect()
        except ssl.SSLError as error:
            # A PUBREL may still be under way to it. TLS 1.3 (RFC 8446, 6.1) lets it come after the Client's
            # close_notify; Python's ssl takes it for an error.
            if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                raise

    def vanish(self):
        """Drops the socket without a DISCONNECT."""
        self.client._connection._transport.abort()


def short(messages):
    return [(topic, payload[:24], qos, retain) for topic, payload, qos, retain in messages[:12]]


async def levels(options):
    """Published and subscribed to in every combination: the lower QoS is delivered."""
    publisher = await Peer(options, "levels-from").connect()
    for granted in (0, 1, 2):
        subscriber = await Peer(options, f"levels-to-{granted}").connect()
        await subscriber.subscribe("levels/#", granted)
        for qos in (0, 1, 2):
            await publisher.publish(f"levels/{qos}", b"%d" % qos, qos)
            await subscriber.expect([(f"levels/{qos}", b"%d" % qos, min(qos, granted), False)])
        await subscriber.unsubscribe("levels/#")
        await publisher.publish("levels/0", b"gone", 1)
        await subscriber.expect([])
        await subscriber.end()
    await publisher.end()


async def retained(options):
    publisher = await Peer(options, "retained-from").connect()
    await publisher.publish("door", b"open", 1, retain=True)
    await publisher.publish("door", b"shut", 2, retain=True)
    late = await Peer(options, "retained-to").connect()
    await late.subscribe("door", 2)
    await late.expect([("door", b"shut", 2, True)])
    await publisher.publish("door", b"", 1, retain=True)
    await late.expect([("door", b"", 1, False)])
    await publisher.end()
    await late.end()


async def will(options):
    watcher = await Peer(options, "will-to").connect()
    await watcher.subscribe("will/van", 2)
    for qos in (0, 1, 2):
        last = gmqtt.Message("will/van", b"lost", qos=qos)
        await (await Peer(options, "will-from", will_message=last).connect()).end()
        await watcher.expect([])
        (await Peer(options, "will-from", will_message=last).connect()).vanish()
        await watcher.expect([("will/van", b"lost", qos, False)])
    await watcher.end()


async def large(options):
    """A payload near the largest packet, at every QoS."""
    payload = bytes(range(256)) * 4000
    subscriber = await Peer(options, "large-to").connect()
    await subscriber.subscribe("large", 2)
    publisher = await Peer(options, "large-from").connect()
    for qos in (0, 1, 2):
        await publisher.publish("large", payload, qos)
        await subscriber.expect([("large", payload, qos, False)])
    await subscriber.end()
    await publisher.end()


async def resume(options):
    """A lasting Session gets what came while it was away: once, in order, and none of it twice."""
    van = await Peer(options, "resume-to", clean=False).connect()
    assert van.session_present is False, "a Session was there before it was made"
    await van.subscribe("resume/#", 2)
    await van.end()
    publisher = await Peer(options, "resume-from").connect()
    expected = []
    for qos in (1, 2):
        for at in range(50):
            await publisher.publish(f"resume/{qos}", b"%d" % at, qos)
            expected.append((f"resume/{qos}", b"%d" % at, qos, False))
    for owed in (expected, []):
        back = await Peer(options, "resume-to", clean=False).connect()
        assert back.session_present is True, "Session Present was 0 on resume"
        await back.wait("the queue", lambda: len(back.messages) >= len(owed))
        # Two topics: order holds in each.
        back.messages.sort(key=lambda message: message[0])
        await back.expect(owed)
        await back.end()
    await publisher.end()


async def shared(options):
    """One member of a group gets a message; together they get all of them."""
    members = [await Peer(options, f"shared-{at}").connect() for at in range(3)]
    for member in members:
        await member.subscribe("$share/crew/job/#", 1)
    publisher = await Peer(options, "shared-from").connect()
    for at in range(60):
        await publisher.publish("job/one", b"%d" % at, 1)
    taken = lambda: sorted(int(message[1]) for member in members for message in member.messages)
    await within("all jobs", lambda: len(taken()) >= 60)
    await asyncio.sleep(0.15)
    assert taken() == list(range(60)), f"the group got {taken()}"
    assert sum(1 for member in members if member.messages) > 1, "one member did all the work"
    for peer in (publisher, *members):
        await peer.end()


async def properties(options):
    """What a publisher says of its message arrives as it was, User Properties in their order."""
    said = {
        "payload_format_id": 1,
        "content_type": "application/json",
        "response_topic": "properties/answer",
        "correlation_data": bytes(range(32)),
    }
    user = [("b", "1"), ("a", "2"), ("b", "3"), ("\u00e9", "\u4f60\u597d")]
    subscriber = await Peer(options, "properties-to").connect()
    await subscriber.subscribe("properties", 2)
    publisher = await Peer(options, "properties-from").connect()
    for qos in (0, 1, 2):
        await publisher.publish(
            "properties", b"{}", qos, message_expiry_interval=60, user_property=user, **said
        )
        await subscriber.wait("the message", lambda: subscriber.messages)
        heard = subscriber.messages.pop()[4]
        for name, value in said.items():
            assert heard[name] == [value], f"{name}: {heard[name]}"
        assert heard["user_property"] == user, heard["user_property"]
        assert 58 <= heard["message_expiry_interval"][0] <= 60, heard["message_expiry_interval"]
    await subscriber.end()
    await publisher.end()


async def identifiers(options):
    """A message says which of the Client's Subscriptions it came for."""
    subscriber = await Peer(options, "identifiers-to").connect()
    await subscriber.subscribe("identifiers/+", 1, subscription_identifier=268435455)
    publisher = await Peer(options, "identifiers-from").connect()
    await publisher.publish("identifiers/x", b"one", 1)
    await subscriber.wait("the message", lambda: subscriber.messages)
    assert subscriber.messages[0][4]["subscription_identifier"] == [268435455]
    await subscriber.end()
    await publisher.end()


async def alias(options):
    """Topic Aliases from the Server; what the application sees are topics."""
    subscriber = await Peer(options, "alias-to", topic_alias_maximum=8).connect()
    await subscriber.subscribe("alias/#", 1)
    publisher = await Peer(options, "alias-from").connect()
    topics = [f"alias/{at % 3}/a/long/topic/of/a/vehicle" for at in range(30)]
    for at, topic in enumerate(topics):
        await publisher.publish(topic, b"%d" % at, 1)
    await subscriber.wait("all messages", lambda: len(subscriber.messages) >= len(topics))
    subscriber.messages.sort(key=lambda message: int(message[1]))
    await subscriber.expect([(topic, b"%d" % at, 1, False) for at, topic in enumerate(topics)])
    await subscriber.end()
    await publisher.end()


EVERYWHERE = (levels, retained, will, large, resume)
ONLY_5_0 = (shared, properties, identifiers, alias)
STORIES = {story.__name__: story for story in EVERYWHERE + ONLY_5_0}


async def tell(options, story):
    try:
        await STORIES[story](options)
    except AssertionError as error:
        return f"{story}: {error}"
    except Exception:  # One that dies without a word would count as a story that went well.
        return f"{story}: {traceback.format_exc()}"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", type=int, choices=(311, 5), required=True)
    parser.add_argument("--transport", choices=("tcp", "tls", "mtls"), default="tcp")
    for file in ("--ca", "--cert", "--key"):
        parser.add_argument(file)
    parser.add_argument("stories", nargs="*", metavar="STORY")
    options = parser.parse_args()
    # It logs what went wrong and goes on; told only when a story failed.
    logging.basicConfig(level=logging.CRITICAL)
    stories = options.stories or [
        story.__name__ for story in EVERYWHERE + (ONLY_5_0 if options.version == 5 else ())
    ]
    failures = [said for said in await asyncio.gather(*(tell(options, story) for story in stories)) if said]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(stories) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
