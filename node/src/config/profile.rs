//! The limits of cloud products, for those who come from one of them: a profile sets the numbers of its product at once,
//! and every key beside it overrides one of them.

use convoy_actors::SecondConnection;
use std::time::Duration;

use super::LimitsOptions;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Convoy,
    /// Tencent TDMQ MQTT.
    Tencent,
    /// Alibaba's 微消息队列 MQTT.
    Aliyun,
    Ctyun,
}

impl Profile {
    pub const ALL: [(&'static str, Self); 4] = [
        ("convoy", Self::Convoy),
        ("tencent", Self::Tencent),
        ("aliyun", Self::Aliyun),
        ("ctyun", Self::Ctyun),
    ];

    pub fn limits(self) -> LimitsOptions {
        const DAY: Duration = Duration::from_secs(86_400);
        let limits = LimitsOptions::default();
        // The products limit payloads, MQTT limits packets: Topic Name and properties come on top.
        let payload_64k = (64 << 10) + (4 << 10);
        match self {
            Self::Convoy => limits,
            Self::Tencent => LimitsOptions {
                packet_bytes: payload_64k,
                connect_packet_bytes: payload_64k,
                subscriptions_per_session: 30,
                inflight_default: 16,
                queue_age: 3 * DAY,
                second_connection: SecondConnection::IsRefused,
                ..limits
            },
            Self::Aliyun => LimitsOptions {
                packet_bytes: payload_64k,
                connect_packet_bytes: payload_64k,
                client_id_bytes: 64,
                subscriptions_per_session: 30,
                session_expiry_default: 3 * DAY,
                queue_age: 3 * DAY,
                second_connection: SecondConnection::IsRefused,
                ..limits
            },
            Self::Ctyun => LimitsOptions {
                packet_bytes: 128 << 10,
                connect_packet_bytes: 128 << 10,
                client_id_bytes: 128,
                session_expiry_default: Duration::from_secs(2 * 3600),
                queue_messages: 10,
                queue_age: 3 * DAY,
                ..limits
            },
        }
    }
}
