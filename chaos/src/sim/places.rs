//! A set of nodes by their places: who runs, serves or hears whom is asked after each step.

use std::ops::BitAnd;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(u64);

impl Places {
    /// The first so many.
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    pub fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }

    pub fn set(&mut self, place: usize, is_in: bool) {
        assert!(place < 64, "no simulated fleet is so large");
        self.0 = self.0 & !(1 << place) | u64::from(is_in) << place;
    }

    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// In their order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..64 - self.0.leading_zeros() as usize).filter(move |place| self.has(*place))
    }
}

impl BitAnd for Places {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut all = Self::default();
        places.into_iter().for_each(|place| all.set(place, true));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_not_taken_out() {
        let mut places: Places = [5, 0, 63].into_iter().collect();
        assert!(places.has(5) && places.has(63) && !places.has(1));
        assert_eq!(places.iter().collect::<Vec<_>>(), [0, 5, 63]);
        places.set(5, false);
        places.set(5, false);
        assert_eq!((places.count(), places & Places::first(3)), (2, Places::first(1)));
        assert_eq!(Places::default().iter().next(), None);
    }
}
