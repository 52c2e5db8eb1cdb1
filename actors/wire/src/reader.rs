//! A position in received bytes. Reading past the end is Malformed Packet, never a panic.

use crate::{Error, PacketId, text, varint};

const SHORT: Error = Error::malformed("[4.13.1] a field ends after the packet that holds it");
const TRAILING: Error = Error::malformed("[4.13.1] bytes follow the last field of the packet");

#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left, which leaves nothing.
    #[inline]
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(TRAILING) }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(bytes))
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Error> {
        let (value, size) = varint::read(self.rest)?.ok_or(SHORT)?;
        self.rest = &self.rest[size..];
        Ok(value)
    }

    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        text::from_bytes(self.binary()?)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Error> {
        PacketId::new(self.u16()?).ok_or(Error::protocol("[MQTT-2.2.1-3] a Packet Identifier is not zero"))
    }

    /// The Packet Identifier that is all there is; `None` if there is more or less, or if it is not a good one.
    #[inline]
    pub(crate) fn sole_packet_id(self) -> Option<PacketId> {
        let &[high, low] = self.rest else {
            return None;
        };
        PacketId::new(u16::from_be_bytes([high, low]))
    }

    /// A length as a Variable Byte Integer, then as many bytes.
    #[inline]
    pub(crate) fn block(&mut self) -> Result<&'a [u8], Error> {
        let length = self.varint()?;
        self.take(length as usize)
    }
}
