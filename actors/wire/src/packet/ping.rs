//! PINGREQ [3.12] and PINGRESP [3.13]: a Fixed Header and nothing else.

use alloc::vec::Vec;

use crate::reader::Reader;
use crate::{EncodeError, Error, PacketType};

pub(super) fn decode(reader: Reader<'_>) -> Result<(), Error> {
    reader.end()
}

pub(super) fn encode(packet_type: PacketType, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&[packet_type.first_byte(), 0]);
    Ok(())
}
