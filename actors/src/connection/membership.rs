//! What a connection tells of its Session's part in Shared Subscriptions: that it is here, and how much it has under way.

use crate::topic::Level;

/// How much waits for a Session that ends with its connection, measured by what may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Less than a quarter.
    Little,
    Some,
    /// Half of it and more.
    Much,
}

#[derive(Debug)]
pub struct Membership {
    /// Messages out of the Session's queue that are under way.
    pub underway: u16,
    told: Level,
}

impl Membership {
    pub fn new() -> Self {
        Self { underway: 0, told: Level::FREE }
    }

    /// Whether that was told last: that its send quota is used up, or that it can take messages.
    #[inline]
    pub fn is_told(&self, is_busy: bool) -> bool {
        self.told == if is_busy { Level::Busy } else { Level::FREE }
    }

    /// What is to be told now, if anything: that the send quota is used up and, once half of it is free, that it is
    /// not; in between, where that is asked for, how much is under way in powers of two. A window that goes up and
    /// down by one message tells nothing.
    pub fn news(
        &mut self,
        underway: u16,
        waiting: Waiting,
        receive_maximum: u16,
        weighed: bool,
    ) -> Option<Level> {
        let level = match underway {
            _ if waiting == Waiting::Much => Level::Full,
            _ if underway >= receive_maximum => Level::Busy,
            _ if weighed => {
                Level::Connected { load: (u16::BITS - underway.leading_zeros()).saturating_sub(2) as u8 }
            }
            _ => Level::FREE,
        };
        let told = match self.told {
            Level::Full if waiting == Waiting::Some => return None,
            Level::Busy if level != Level::Full && underway > receive_maximum / 2 => return None,
            Level::Connected { load }
                if level == (Level::Connected { load: load.saturating_sub(1) }) && load > 0 =>
            {
                return None;
            }
            told => told,
        };
        (told != level).then(|| {
            self.told = level;
            level
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_quota_is_told_once_and_again_when_half_of_it_is_free() {
        let mut membership = Membership::new();
        let news: Vec<_> = [1, 3, 4, 3, 4, 3, 2, 1, 0]
            .into_iter()
            .filter_map(|underway| Some((underway, membership.news(underway, Waiting::Little, 4, false)?)))
            .collect();
        assert_eq!(news, [(4, Level::Busy), (2, Level::FREE)]);
    }

    #[test]
    fn who_can_keep_no_more_says_so_until_most_of_it_is_gone() {
        use Waiting::{Little, Much, Some};
        let mut membership = Membership::new();
        let news = [(4, Little), (4, Some), (4, Much), (4, Some), (2, Some), (4, Little), (0, Little)];
        let news = news.map(|(underway, waiting)| membership.news(underway, waiting, 4, false));
        let told = [Option::Some(Level::Busy), None, Option::Some(Level::Full), None, None];
        assert_eq!(news[..5], told);
        assert_eq!(news[5..], [Option::Some(Level::Busy), Option::Some(Level::FREE)]);
    }

    #[test]
    fn a_quota_of_one_is_told_each_time() {
        let mut membership = Membership::new();
        let news = [1, 0, 1].map(|underway| membership.news(underway, Waiting::Little, 1, false));
        assert_eq!(news, [Some(Level::Busy), Some(Level::FREE), Some(Level::Busy)]);
    }

    #[test]
    fn load_is_told_in_powers_of_two_and_not_back_and_forth() {
        let mut membership = Membership::new();
        let mut news = |underway| membership.news(underway, Waiting::Little, 100, true);
        assert_eq!([1, 2, 3].map(&mut news), [None; 3]);
        assert_eq!(news(4), Some(Level::Connected { load: 1 }));
        assert_eq!([3, 4, 3, 2].map(&mut news), [None; 4]);
        assert_eq!(news(8), Some(Level::Connected { load: 2 }));
        assert_eq!(news(7), None);
        assert_eq!(news(3), Some(Level::FREE));
    }
}
