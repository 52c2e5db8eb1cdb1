//! A repeated field: either still the bytes it was received in, or a slice of values that is to be sent.
//!
//! Received lists are checked when the packet is decoded and read again while iterating, so a packet with ten
//! thousand User Properties costs its bytes and nothing else.

use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;

use crate::reader::Reader;

/// What a [`List`] can hold.
pub trait Element<'a>: Copy {
    /// The same, of other bytes.
    type Of<'b>: Element<'b>;

    /// The next value; `None` at the end of the bytes, which were checked before.
    #[doc(hidden)]
    fn next(reader: &mut Reader<'a>) -> Option<Self>;
}

pub struct List<'a, T> {
    source: Source<'a, T>,
}

enum Source<'a, T> {
    /// Checked bytes that hold `len` values, and maybe other fields between them.
    Wire {
        bytes: &'a [u8],
        len: u32,
    },
    Values(&'a [T]),
}

impl<'a, T> List<'a, T> {
    pub const EMPTY: Self = Self { source: Source::Values(&[]) };

    pub const fn new(values: &'a [T]) -> Self {
        Self { source: Source::Values(values) }
    }

    #[inline]
    pub(crate) const fn wire(bytes: &'a [u8], len: u32) -> Self {
        Self { source: Source::Wire { bytes, len } }
    }

    #[inline]
    pub const fn len(&self) -> usize {
        match self.source {
            Source::Wire { len, .. } => len as usize,
            Source::Values(values) => values.len(),
        }
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Element<'a>> List<'a, T> {
    #[inline]
    pub fn iter(&self) -> Iter<'a, T> {
        match self.source {
            Source::Wire { bytes, len } => Iter(Rest::Wire { reader: Reader::new(bytes), len }),
            Source::Values(values) => Iter(Rest::Values(values.iter())),
        }
    }
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// What was received is kept beyond its packet, behind the first `skip` values. `None` for values that are to be sent.
    pub fn keep(&self, skip: usize) -> Option<Kept<T::Of<'static>>> {
        let Source::Wire { bytes, len } = self.source else { return None };
        let skip = len.min(skip as u32);
        let rest = behind::<T>(bytes, skip);
        Some(Kept { bytes: rest.into(), at: 0, len: len - skip, of: PhantomData })
    }

    /// How many of the first values, at most so many, take no more than so many bytes together: at least one, if there is
    /// one.
    pub fn fit(&self, most: usize, bytes: usize) -> usize {
        let Source::Wire { bytes: all, len } = self.source else { return most.min(self.len()) };
        let (mut reader, most) = (Reader::new(all), most.min(len as usize));
        for at in 0..most {
            T::next(&mut reader);
            if all.len() - reader.rest().len() > bytes {
                return at.max(1);
            }
        }
        most
    }

    /// The first values, at most so many.
    pub fn first(&self, most: usize) -> Self {
        match self.source {
            Source::Wire { bytes, len } => Self::wire(bytes, len.min(most as u32)),
            Source::Values(values) => Self::new(&values[..values.len().min(most)]),
        }
    }
}

/// The bytes behind `skip` values.
fn behind<'a, T: Element<'a>>(bytes: &'a [u8], skip: u32) -> &'a [u8] {
    let mut reader = Reader::new(bytes);
    for _ in 0..skip {
        T::next(&mut reader);
    }
    reader.rest()
}

/// What is left of a received list beyond its packet: read piece by piece.
pub struct Kept<T> {
    bytes: Box<[u8]>,
    at: usize,
    len: u32,
    of: PhantomData<fn() -> T>,
}

impl<T: Element<'static>> Kept<T> {
    /// Takes the next values: see [`List::fit`].
    pub fn take(&mut self, most: usize, bytes: usize) -> List<'_, T::Of<'_>> {
        let left: List<'_, T::Of<'_>> = List::wire(&self.bytes[self.at..], self.len);
        let (from, len) = (self.at, left.fit(most, bytes) as u32);
        let rest = behind::<T::Of<'_>>(&self.bytes[from..], len);
        self.at = self.bytes.len() - rest.len();
        self.len -= len;
        List::wire(&self.bytes[from..self.at], len)
    }
}

impl<T> Kept<T> {
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory: those of values that were taken are held until all are.
    pub const fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Clone for Source<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Source<'_, T> {}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self::new(values)
    }
}

impl<'a, T: Element<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Element<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Element<'a>> IntoIterator for &List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

pub struct Iter<'a, T>(Rest<'a, T>);

enum Rest<'a, T> {
    Wire { reader: Reader<'a>, len: u32 },
    Values(core::slice::Iter<'a, T>),
}

impl<'a, T: Element<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Rest::Wire { reader, len } => {
                *len = len.checked_sub(1)?;
                T::next(reader)
            }
            Rest::Values(values) => values.next().copied(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match &self.0 {
            Rest::Wire { len, .. } => *len as usize,
            Rest::Values(values) => values.len(),
        };
        (len, Some(len))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Iter<'a, T> {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::TopicFilter;

    #[test]
    fn what_is_kept_of_a_list_is_taken_in_pieces() {
        let bytes = b"\0\x01a\0\x02bb\0\x01c\0\x01d";
        let list: List<'_, TopicFilter<'_>> = List::wire(bytes, 4);
        let first: Vec<_> = list.first(1).iter().map(|filter| filter.as_str()).collect();
        assert_eq!(first, ["a"]);
        let mut kept = list.keep(1).unwrap();
        let mut take = |most| -> Vec<_> {
            kept.take(most, 99).iter().map(|it| alloc::string::String::from(it.as_str())).collect()
        };
        assert_eq!(take(2), ["bb", "c"]);
        assert_eq!(take(2), ["d"]);
        assert_eq!(take(2), [""; 0]);
        assert!(kept.is_empty());
        // Of three, four and three bytes.
        assert_eq!([2, 3, 6, 7, 9].map(|bytes| list.fit(3, bytes)), [1, 1, 1, 2, 2]);
        let mut kept = list.keep(0).unwrap();
        assert_eq!(kept.take(9, 6).len(), 1);
        assert_eq!((kept.take(9, 7).len(), kept.take(9, 7).len()), (2, 1));
        assert!(list.keep(9).unwrap().is_empty());
        assert!(List::new(&[TopicFilter::new("a").unwrap()]).keep(0).is_none());
    }
}
