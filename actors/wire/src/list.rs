//! A repeated field: either still the bytes it was received in, or a slice of values that is to be sent.
//!
//! Received lists are checked when the packet is decoded and read again while iterating, so a packet with ten
//! thousand User Properties costs its bytes and nothing else.

use core::fmt;

use crate::reader::Reader;

/// What a [`List`] can hold.
pub trait Element<'a>: Copy {
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
