//! `[limits]`: what one Client, and all of them together, may ask for.

use convoy_actors::{Excess, SecondConnection};

use super::*;

const EXCESSES: [(&str, Excess); 2] = [("wait", Excess::Wait), ("refuse", Excess::Refuse)];
const SECOND_CONNECTIONS: [(&str, SecondConnection); 2] =
    [("take_over", SecondConnection::TakesOver), ("refuse", SecondConnection::IsRefused)];

impl Reader {
    pub(super) fn limits(&mut self) -> LimitsOptions {
        let mut profile = Profile::default();
        let mut section = self.section("limits");
        section.one_of("profile", &mut profile, &Profile::ALL);
        let mut options = profile.limits();
        section.number("client_id_bytes", &mut options.client_id_bytes, 1..=u16::MAX);
        // A record of the log has to hold what comes in one packet.
        let packet_bytes = 1024..=convoy_actors::MESSAGE_BYTES as u32;
        section.bytes("packet_bytes", &mut options.packet_bytes, packet_bytes.clone());
        section.bytes("connect_packet_bytes", &mut options.connect_packet_bytes, packet_bytes);
        section.duration("connect_timeout", &mut options.connect_timeout, SECOND..=HOUR);
        section.duration(
            "keep_alive_maximum",
            &mut options.keep_alive_maximum,
            Duration::ZERO..=SECOND * 65_535,
        );
        section.number("receive_maximum", &mut options.receive_maximum, 1..=u16::MAX);
        // Below the 65,535 Packet Identifiers, so that one is always free.
        let inflight = 1..=u16::MAX - 1;
        section.number("inflight_default", &mut options.inflight_default, inflight.clone());
        section.number("inflight_maximum", &mut options.inflight_maximum, inflight);
        section.number("topic_alias_maximum", &mut options.topic_alias_maximum, 0..=u16::MAX);
        section.bytes("output_bytes", &mut options.output_bytes, 4096..=1 << 30);
        section.bytes("answer_bytes", &mut options.answer_bytes, 4096..=1 << 30);
        section.bytes("underway_bytes", &mut options.underway_bytes, 16 << 10..=1 << 30);
        section.duration("unread_timeout", &mut options.unread_timeout, SECOND..=HOUR);
        section.bytes("unread_bytes", &mut options.unread_bytes, 1 << 20..=1 << 40);
        section.bytes("unfinished_bytes", &mut options.unfinished_bytes, 1 << 20..=1 << 40);
        section.duration("acknowledge_timeout", &mut options.acknowledge_timeout, SECOND..=HOUR);
        section.number("queue_messages", &mut options.queue_messages, 1..=100_000_000);
        section.bytes("queue_bytes", &mut options.queue_bytes, 1024..=1 << 40);
        section.duration("queue_age", &mut options.queue_age, SECOND..=NEVER);
        let expiry = Duration::ZERO..=NEVER;
        section.duration("session_expiry_default", &mut options.session_expiry_default, expiry.clone());
        section.duration("session_expiry_maximum", &mut options.session_expiry_maximum, expiry);
        section.number("subscriptions_per_session", &mut options.subscriptions_per_session, 1..=10_000_000);
        section.bytes("filter_bytes_per_session", &mut options.filter_bytes_per_session, 1024..=1 << 40);
        section.number("topic_levels", &mut options.topic_levels, 1..=1024);
        section.number("topic_bytes", &mut options.topic_bytes, 16..=u16::MAX);
        section.number("wildcard_levels", &mut options.wildcard_levels, 1..=20);
        section.stored(&mut options);
        let per_second = 0..=1_000_000_000;
        section.number(
            "publish_messages_per_second",
            &mut options.publish_messages_per_second,
            per_second.clone(),
        );
        section.bytes("publish_bytes_per_second", &mut options.publish_bytes_per_second, per_second);
        section.one_of("publish_excess", &mut options.publish_excess, &EXCESSES);
        section.one_of("second_connection", &mut options.second_connection, &SECOND_CONNECTIONS);
        section.number("connections", &mut options.connections, 1..=100_000_000);
        options.connects_per_second = LimitsOptions::connects_per_second_for(options.connections);
        section.number("connects_per_second", &mut options.connects_per_second, 1..=10_000_000);
        section.addresses(&mut options);
        section.number("handshakes", &mut options.handshakes, 1..=1_000_000);
        section.duration("handshake_timeout", &mut options.handshake_timeout, SECOND..=HOUR);
        section.end();
        options
    }
}

impl Section<'_> {
    /// What may be stored, of the node and of each user: a half, unless it is said.
    fn stored(&mut self, options: &mut LimitsOptions) {
        let (counts, bytes) = (0..=1 << 40, 0..=1 << 50);
        self.number("sessions", &mut options.sessions, counts.clone());
        self.bytes("stored_bytes", &mut options.stored_bytes, bytes.clone());
        self.bytes("will_bytes", &mut options.will_bytes, bytes.clone());
        self.number("retained_messages", &mut options.retained_messages, counts.clone());
        self.bytes("retained_bytes", &mut options.retained_bytes, bytes.clone());
        let mut user = LimitsOptions::of_user(&options.of_node());
        self.number("sessions_per_user", &mut user.sessions, counts.clone());
        self.bytes("stored_bytes_per_user", &mut user.stored_bytes, bytes.clone());
        self.bytes("will_bytes_per_user", &mut user.will_bytes, bytes.clone());
        self.number("retained_messages_per_user", &mut user.retained_messages, counts);
        self.bytes("retained_bytes_per_user", &mut user.retained_bytes, bytes);
        options.user = user;
    }

    /// What strangers and single addresses may take: shares of what there is, unless it is said.
    fn addresses(&mut self, options: &mut LimitsOptions) {
        let LimitsOptions { connections, connects_per_second, .. } = *options;
        options.half_open = LimitsOptions::half_open_for(connections);
        self.number("half_open", &mut options.half_open, 1..=100_000_000);
        let mut of_address = AddressLimits::of_node(connections, options.half_open, connects_per_second);
        self.number("connections_per_address", &mut of_address.connections, 1..=100_000_000);
        self.number("half_open_per_address", &mut of_address.half_open, 1..=100_000_000);
        let per_second = &mut of_address.connects_per_second;
        self.number("connects_per_second_per_address", per_second, 1..=10_000_000);
        options.address = of_address;
        let exempt = &mut options.addresses_exempt;
        self.read("addresses_exempt", exempt, listeners::networks, |networks| {
            listeners::show_networks(networks)
        });
    }
}
