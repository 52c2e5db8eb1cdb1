//! Lists in letters. What a list claims to have allocates nothing: memory grows with what is there, for else a few bytes of a
//! peer could ask for as much as a record may.

use std::borrow::Cow;

use convoy_ids::SlotId;
use convoy_storage::record::{BorrowDecode, Encode, de, enc, error};

use crate::session::{Delivery, Place, Seq, Stage, Subscription, Wanted};

/// So many items at once are made room for without having been seen.
const UNSEEN: usize = 16;

/// A list of a letter: borrowed to be written, owned when it was read.
pub(in crate::shard::mail) struct List<'a, T: Item>(pub Cow<'a, [T]>);

/// What lists have, each at least a byte long.
pub(in crate::shard::mail) trait Item: Clone {
    fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError>;
    fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError>;
}

impl<'a, T: Item> List<'a, T> {
    pub(in crate::shard::mail) fn of(items: &'a [T]) -> Self {
        Self(Cow::Borrowed(items))
    }

    pub(in crate::shard::mail) fn into_vec(self) -> Vec<T> {
        self.0.into_owned()
    }
}

impl<T: Item> Encode for List<'_, T> {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|item| item.write(encoder))
    }
}

impl<'de, C, T: Item> BorrowDecode<'de, C> for List<'_, T> {
    fn borrow_decode<D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        let claimed = u64::borrow_decode(decoder)?;
        let mut items = Vec::with_capacity(claimed.min(UNSEEN as u64) as usize);
        for _ in 0..claimed {
            items.push(T::read(decoder)?);
        }
        Ok(Self(Cow::Owned(items)))
    }
}

/// Items that are written as records write them.
macro_rules! plain {
    ($($item:ty),*) => {$(
        impl Item for $item {
            fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
                self.encode(encoder)
            }

            fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, error::DecodeError> {
                Self::borrow_decode(decoder)
            }
        }
    )*};
}

plain!(bool, u16, u64, Place, (Seq, Stage));

impl Item for (SlotId, u64) {
    fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        (self.0.0, self.1).encode(encoder)
    }

    fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        let (slot, number) = <(u16, u64)>::borrow_decode(decoder)?;
        Ok((SlotId(slot), number))
    }
}

impl Item for String {
    fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        self.encode(encoder)
    }

    fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        // A String of its own would be allocated by what it claims.
        <&str>::borrow_decode(decoder).map(Into::into)
    }
}

impl Item for Wanted {
    fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        let Self { filter, subscription, places } = self;
        filter.encode(encoder)?;
        subscription.encode(encoder)?;
        List::of(places).encode(encoder)
    }

    fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        let filter = <&str>::borrow_decode(decoder)?.into();
        let subscription = Subscription::borrow_decode(decoder)?;
        let places = List::borrow_decode(decoder)?.into_vec();
        Ok(Self { filter, subscription, places })
    }
}

/// A message as it is retained.
impl Item for (Delivery, Vec<u8>) {
    fn write<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        self.0.encode(encoder)?;
        <&[u8] as Encode>::encode(&&self.1[..], encoder)
    }

    fn read<'de, C, D: de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, error::DecodeError> {
        let delivery = Delivery::borrow_decode(decoder)?;
        Ok((delivery, <&[u8]>::borrow_decode(decoder)?.to_vec()))
    }
}
