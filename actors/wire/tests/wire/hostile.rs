//! Bytes of a stranger: whatever they are, there is an answer.

use convoy_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::exhaust::exhaust;
use crate::packets::{encoded_body, mutated};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_never_panic(first in any::<u8>(), body in vec(any::<u8>(), 0..64)) {
        for version in ProtocolVersion::ALL {
            exhaust(version, first, &body);
        }
        let mut buffer = vec![first];
        buffer.extend(&body);
        if let Ok(Cut::Partial { needed }) = cut(&buffer, Limits::NONE) {
            prop_assert!(needed > buffer.len());
        }
    }

    #[test]
    fn changed_packets_never_panic((version, (first, body)) in prop::sample::select(&ProtocolVersion::ALL[..])
        .prop_flat_map(|version| (Just(version), mutated(version))))
    {
        exhaust(version, first, &body);
    }

    #[test]
    fn no_text_panics_as_a_topic(text in "[a-c/+#$\u{0}é]{0,12}|\\$share/[a-c/+#]{0,12}", limit in 0..6_usize) {
        let name = TopicName::new(&text);
        let filter = TopicFilter::new(&text);
        if let Ok(name) = name {
            prop_assert_eq!(name.levels().count() > limit, name.check_levels(limit).is_err());
            prop_assert!(text.starts_with("$share/") || filter.is_ok(), "a Topic Name is a Topic Filter");
        }
        if let (Ok(filter), Ok(name)) = (filter, TopicName::new("a/b")) {
            let _ = (filter.matches(name), filter.shared(), filter.check_levels(limit));
        }
    }
}

#[test]
fn sixty_thousand_levels_need_no_stack() {
    let deep = "/".repeat(65_535);
    let name = TopicName::new(&deep).unwrap();
    assert!(TopicFilter::new(&deep).unwrap().matches(name));
    assert_eq!(name.check_levels(128).unwrap_err().reason, ReasonCode::TopicNameInvalid);
}

#[test]
fn a_flood_of_user_properties_is_counted_and_not_kept() {
    let pairs = vec![("", ""); 50_000];
    let properties = PublishProperties { user_properties: pairs.as_slice().into(), ..Default::default() };
    let publish = Publish { topic: "a", properties, ..Publish::default() };
    let (first, body) = encoded_body(ProtocolVersion::V5, &Packet::Publish(publish));
    let Ok(Packet::Publish(publish)) = decode(ProtocolVersion::V5, first, &body) else {
        panic!("many User Properties are allowed");
    };
    assert_eq!(publish.properties.user_properties.len(), 50_000);
}
