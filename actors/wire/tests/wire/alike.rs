//! Changed packets, read by us and by the oracle.

use convoy_wire::ProtocolVersion;
use proptest::prelude::*;

use crate::oracle::compare;
use crate::packets::mutated;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn both_read_5_0_alike((first, body) in mutated(ProtocolVersion::V5)) {
        compare(ProtocolVersion::V5, first, &body);
    }

    #[test]
    fn both_read_3_1_1_alike((first, body) in mutated(ProtocolVersion::V311)) {
        compare(ProtocolVersion::V311, first, &body);
    }
}
