//! Topic Names that are no Client's to publish to (MQTT 5.0, 4.7.2): those of the node itself, and what begins as a Shared
//! Subscription does.

use convoy_wire::ReasonCode;

/// The first level of topics that are the node's own.
const SYS: &str = "$SYS";

/// Whether a topic or a Topic Filter is of the node's own.
pub fn is_sys(topic: &str) -> bool {
    topic.strip_prefix(SYS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why a Client may not publish to this topic, if so.
pub fn reserved(topic: &str) -> Option<ReasonCode> {
    if !topic.starts_with('$') {
        return None;
    }
    // [4.8.2]: with this a Topic Filter begins that is shared, and no Topic Name.
    let is_share = topic.strip_prefix("$share").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match is_share {
        true => Some(ReasonCode::TopicNameInvalid),
        false => is_sys(topic).then_some(ReasonCode::NotAuthorized),
    }
}
