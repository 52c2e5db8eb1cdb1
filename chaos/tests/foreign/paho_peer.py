"""A paho-mqtt Client that waits for events instead of sleeping, over any transport."""

import ssl
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

LIMIT = 20  # seconds that anything may take
KINDS = {31: mqtt.MQTTv31, 311: mqtt.MQTTv311, 5: mqtt.MQTTv5}


class Peer:
    """One Client Identifier, one connection at a time."""

    def __init__(self, options, name, clean=True, will=None, expiry=3600, user=None):
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
        self.expiry = 0 if clean else expiry
        extra = {} if self.v5 else {"clean_session": clean}
        if options.transport in ("ws", "wss"):
            extra["transport"] = "websockets"
        kind = KINDS[options.version]
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, self.name, protocol=kind, **extra)
        if options.transport in ("tls", "mtls", "wss"):
            mutual = {"certfile": options.cert, "keyfile": options.key} if options.transport == "mtls" else {}
            self.client.tls_set(options.ca, cert_reqs=ssl.CERT_REQUIRED, **mutual)
        if options.transport in ("ws", "wss"):
            self.client.ws_set_options(path="/mqtt")
        if user:
            self.client.username_pw_set(*user)
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

    def knock(self):
        """Connects, whatever the answer."""
        self.connack, self.closed = None, False
        extra = {}
        if self.v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self.expiry
            extra = {"clean_start": self.clean, "properties": properties}
        self.client.connect("localhost", self.options.port, keepalive=30, **extra)
        self.client.loop_start()
        self.wait("CONNACK", lambda: self.connack is not None)
        return self

    def connect(self):
        self.knock()
        assert not self.connack.is_failure, f"{self.name} was refused: {self.connack}"
        return self

    def expect_session(self, present):
        """The CONNACK of 3.1 has no place for it."""
        if self.options.version != 31:
            assert self.session_present == present, f"{self.name}: Session Present was {self.session_present}"

    def disconnect(self):
        self.client.disconnect()
        self.wait("the end of the connection", lambda: self.closed)
        self.client.loop_stop()

    def vanish(self):
        """Drops the socket without a DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()

    def ask(self, topic, qos, identifier=None):
        """The Reason Codes of the SUBACK."""
        extra = {}
        if identifier:
            extra["properties"] = Properties(PacketTypes.SUBSCRIBE)
            extra["properties"].SubscriptionIdentifier = identifier
        _, mid = self.client.subscribe(topic, qos, **extra)
        self.wait(f"SUBACK for {topic}", lambda: mid in self.answers)
        return [reason.value for reason in self.answers[mid]]

    def subscribe(self, topic, qos, identifier=None):
        granted = self.ask(topic, qos, identifier)
        assert granted == [qos], f"{topic}: granted {granted} instead of {qos}"

    def unsubscribe(self, topic):
        _, mid = self.client.unsubscribe(topic)
        self.wait(f"UNSUBACK for {topic}", lambda: mid in self.answers)

    def publish(self, topic, payload, qos, retain=False, properties=None):
        info = self.client.publish(topic, payload, qos, retain, properties)
        self.wait(f"the acknowledgement of {topic}", lambda: info.mid in self.published)
        return self.published[info.mid]

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
