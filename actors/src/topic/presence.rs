//! What a shard knows of the members of Shared Subscriptions: who is connected, and who can take more. Connections tell
//! it to all shards; it is a hint, and one that is late costs a choice that could have been better, and no message.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::access::{Access, Permits};
use crate::author::Author;
use crate::dest::Dest;
use crate::session::{Epoch, SessionNumber};

/// How well a member can take a message: the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Connected, and within its send quota. `load` tells how much of it is used, in powers of two.
    Connected { load: u8 },
    /// Connected, but its send quota is used up.
    Busy,
    /// Its Session is there, its Client is not.
    Absent,
    /// Its Session ends with its connection, which has not been heard of: it is about to come, or has gone.
    Unheard,
    /// It is connected and acknowledges nothing, and its Session, which ends with its connection, can keep no more.
    Full,
    /// It has just left this very message.
    Not,
    /// It has ended, and its route has yet to go: it gets nothing.
    Gone,
    /// No rule lets it receive the message: it is never chosen.
    Denied,
}

impl Level {
    pub const FREE: Self = Self::Connected { load: 0 };

    pub fn without_load(self) -> Self {
        match self {
            Self::Connected { .. } => Self::FREE,
            other => other,
        }
    }
}

/// What a connection tells of its Session. Of two connections of one Session that speak from different shards the one of
/// the later epoch is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub session: SessionNumber,
    pub epoch: Epoch,
    pub news: News,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is a member of these groups, and of those it was in before.
    Joined {
        groups: Vec<u64>,
        who: Box<Author>,
    },
    Level(Level),
    /// Its connection has ended.
    Left,
}

#[derive(Debug)]
struct Member {
    /// The shard that tells of it.
    from: Dest,
    epoch: Epoch,
    level: Level,
    groups: Vec<u64>,
    who: Box<Author>,
    /// What it may receive; `None` for everything.
    permits: Option<Box<Permits>>,
    /// Its place in [`Presence::places`].
    place: usize,
}

/// Groups of a member up to which it is counted in each of them whether it is free. Of a member of more it is not asked
/// again with every acknowledgement, and it may be free.
const COUNTED_GROUPS: usize = 16;

impl Member {
    fn may_be_free(&self) -> bool {
        self.groups.len() > COUNTED_GROUPS || matches!(self.level, Level::Connected { .. })
    }
}

/// The connected members of a group, in the order in which a group has its members.
#[derive(Debug, Default)]
struct Crowd {
    all: BTreeSet<SessionNumber>,
    /// Those who may be free.
    free: BTreeSet<SessionNumber>,
}

#[derive(Debug, Default)]
pub struct Presence {
    members: FxHashMap<SessionNumber, Member>,
    /// The same, in an order in which they can be walked through.
    places: Slab<SessionNumber>,
    /// Where the walk goes on that tells members of other rules.
    stale_from: Option<usize>,
    /// Those that have connected members.
    groups: FxHashMap<u64, Crowd>,
    /// Members that a message came back from because they had ended. Without this two of them, whose routes are still
    /// there, would be given it in turn. The second set is of before: see [`Presence::forget_gone`].
    gone: [FxHashSet<SessionNumber>; 2],
    access: Arc<Access>,
}

impl Presence {
    /// What a shard tells of a member that is connected there.
    pub fn take(&mut self, from: Dest, announcement: &Announcement) {
        let Announcement { session, epoch, ref news } = *announcement;
        match self.members.get(&session).map(|member| member.epoch) {
            Some(known) if epoch < known => return,
            Some(known) if epoch > known => self.remove(session),
            _ => {}
        }
        match news {
            News::Joined { groups, who } => {
                let permits = || Permits::of(&self.access, &who.who());
                let places = &mut self.places;
                let new = || Member {
                    from,
                    place: places.insert(session),
                    epoch,
                    level: Level::FREE,
                    groups: Vec::new(),
                    who: who.clone(),
                    permits: permits(),
                };
                self.members.entry(session).or_insert_with(new);
                self.change(session, |member| {
                    for group in groups {
                        if !member.groups.contains(group) {
                            member.groups.push(*group);
                        }
                    }
                });
            }
            News::Level(level) => self.change(session, |member| member.level = *level),
            News::Left => self.remove(session),
        }
    }

    /// Changes what is known of a member, which loses no group by it.
    fn change(&mut self, session: SessionNumber, change: impl FnOnce(&mut Member)) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let (was_free, known) = (member.may_be_free(), member.groups.len());
        change(member);
        let is_free = member.may_be_free();
        // Where nothing has changed nothing is looked up.
        let changed = if is_free == was_free { known } else { 0 };
        for (at, group) in member.groups.iter().enumerate().skip(changed) {
            let crowd = self.groups.entry(*group).or_default();
            if at >= known {
                crowd.all.insert(session);
            }
            match is_free {
                true => crowd.free.insert(session),
                false => crowd.free.remove(&session),
            };
        }
    }

    /// Nothing is heard of that shard any more: of its members it is not known whether they are connected.
    pub fn forget(&mut self, from: Dest) {
        let gone = self.members.iter().filter(|(_, member)| member.from == from);
        for session in gone.map(|(session, _)| *session).collect::<Vec<_>>() {
            self.remove(session);
        }
    }

    /// What that shard has told of its members, for one that has not heard it.
    pub fn told_by(&self, from: Dest) -> Vec<Announcement> {
        let mut told = Vec::new();
        for (&session, member) in self.members.iter().filter(|(_, member)| member.from == from) {
            let news = |news| Announcement { session, epoch: member.epoch, news };
            told.push(news(News::Joined { groups: member.groups.clone(), who: member.who.clone() }));
            told.push(news(News::Level(member.level)));
        }
        told
    }

    fn remove(&mut self, session: SessionNumber) {
        let Some(member) = self.members.remove(&session) else { return };
        self.places.remove(member.place);
        for group in &member.groups {
            let crowd = self.groups.get_mut(group).expect("its members are there");
            crowd.all.remove(&session);
            crowd.free.remove(&session);
            if crowd.all.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// How well one of a group can take a message at best: whoever has found such a member need not ask the others.
    pub fn best_of(&self, group: u64) -> Level {
        match self.groups.get(&group) {
            Some(crowd) if !crowd.free.is_empty() => Level::FREE,
            Some(_) => Level::Busy,
            None => Level::Absent,
        }
    }

    /// Members of a group that may be free, and all that are connected.
    pub fn known(&self, group: u64) -> Option<[&BTreeSet<SessionNumber>; 2]> {
        self.groups.get(&group).map(|crowd| [&crowd.free, &crowd.all])
    }

    /// A message came back from this member: its Session has ended, and numbers of Sessions are never used again.
    pub fn has_gone(&mut self, session: SessionNumber) {
        self.gone[0].insert(session);
    }

    /// To be called every second or so: who went before the last call is forgotten, for its routes have gone too. Where
    /// they have not, the next message finds out again.
    pub fn forget_gone(&mut self) {
        self.gone.swap(0, 1);
        self.gone[0].clear();
    }

    /// Other rules hold from now on: for members who come at once, for those who are there as [`Presence::judge`] comes to
    /// them.
    pub fn set_access(&mut self, access: &Arc<Access>) {
        self.access = Arc::clone(access);
        self.stale_from = (!self.places.is_empty()).then_some(0);
    }

    /// Whether all members are judged by the rules of now.
    pub fn is_current(&self) -> bool {
        self.stale_from.is_none()
    }

    /// Judges up to so many members by the rules of now: how many it has looked at.
    pub fn judge(&mut self, members: usize) -> usize {
        let Some(from) = self.stale_from else { return 0 };
        let to = self.places.capacity().min(from.saturating_add(members));
        for place in from..to {
            let Some(member) = self.places.get(place).and_then(|session| self.members.get_mut(session))
            else {
                continue;
            };
            member.permits = Permits::of(&self.access, &member.who.who());
        }
        self.stale_from = (to < self.places.capacity()).then_some(to);
        to - from
    }

    /// How well a member can take a message on this topic. `lives_with_connection`: its Session does, so that it is
    /// connected. Of whom is not connected it is not known what rules say; they are asked when it comes.
    pub fn level(&self, session: SessionNumber, lives_with_connection: bool, topic: &str) -> Level {
        if self.gone.iter().any(|gone| gone.contains(&session)) {
            return Level::Gone;
        }
        match self.members.get(&session) {
            Some(Member { permits: Some(permits), .. }) if !permits.may_receive(topic) => Level::Denied,
            Some(member) => member.level,
            None if lives_with_connection => Level::Unheard,
            None => Level::Absent,
        }
    }

    /// Whether a group has a connected member beside this one.
    pub fn has_other(&self, group: u64, than: SessionNumber) -> bool {
        self.groups.get(&group).is_some_and(|crowd| crowd.all.len() > usize::from(crowd.all.contains(&than)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionNumber = SessionNumber(1);
    const TWO: SessionNumber = SessionNumber(2);

    fn joined(groups: Vec<u64>) -> News {
        let who = Author { client_id: "a".into(), user: None, address: 1, listener: "l".into() };
        News::Joined { groups, who: Box::new(who) }
    }

    fn tell(presence: &mut Presence, session: SessionNumber, epoch: u64, news: News) {
        presence.take(Dest(0), &Announcement { session, epoch: Epoch(epoch), news });
    }

    #[test]
    fn a_member_is_absent_until_it_is_heard_of() {
        let mut presence = Presence::default();
        assert_eq!(presence.level(ONE, false, "t"), Level::Absent);
        assert_eq!(presence.level(ONE, true, "t"), Level::Unheard);
        tell(&mut presence, ONE, 1, joined(vec![7]));
        assert_eq!(presence.level(ONE, false, "t"), Level::FREE);
        tell(&mut presence, ONE, 1, News::Level(Level::Busy));
        tell(&mut presence, ONE, 1, joined(vec![8]));
        assert_eq!(presence.level(ONE, false, "t"), Level::Busy);
        tell(&mut presence, ONE, 1, News::Left);
        assert_eq!(presence.level(ONE, false, "t"), Level::Absent);
    }

    #[test]
    fn who_has_gone_gets_nothing_until_that_is_long_ago() {
        let mut presence = Presence::default();
        tell(&mut presence, ONE, 1, joined(vec![7]));
        presence.has_gone(ONE);
        presence.forget_gone();
        assert_eq!(
            (presence.level(ONE, true, "t"), presence.level(TWO, true, "t")),
            (Level::Gone, Level::Unheard)
        );
        presence.forget_gone();
        assert_eq!(presence.level(ONE, true, "t"), Level::FREE);
        assert!(presence.gone.iter().all(FxHashSet::is_empty));
    }

    #[test]
    fn a_group_has_others_while_one_of_them_is_connected() {
        let mut presence = Presence::default();
        for session in [ONE, TWO] {
            tell(&mut presence, session, 1, joined(vec![7]));
            tell(&mut presence, session, 1, joined(vec![7, 9]));
        }
        assert!(presence.has_other(7, ONE) && presence.has_other(9, ONE));
        tell(&mut presence, TWO, 1, News::Left);
        assert!(!presence.has_other(7, ONE));
        assert!(presence.has_other(7, TWO));
        tell(&mut presence, ONE, 1, News::Left);
        assert!(!presence.has_other(7, TWO));
        assert!(presence.groups.is_empty());
    }

    #[test]
    fn it_is_known_how_well_a_group_can_take_a_message_at_best() {
        let mut presence = Presence::default();
        let best = |presence: &Presence| [7, 8].map(|group| presence.best_of(group));
        assert_eq!(best(&presence), [Level::Absent; 2]);
        tell(&mut presence, ONE, 1, joined(vec![7]));
        tell(&mut presence, TWO, 1, joined(vec![7, 8]));
        assert_eq!(best(&presence), [Level::FREE; 2]);
        tell(&mut presence, TWO, 1, News::Level(Level::Busy));
        assert_eq!(best(&presence), [Level::FREE, Level::Busy]);
        tell(&mut presence, ONE, 1, News::Level(Level::Full));
        tell(&mut presence, ONE, 1, joined(vec![8]));
        assert_eq!(best(&presence), [Level::Busy; 2]);
        tell(&mut presence, TWO, 1, News::Level(Level::Connected { load: 3 }));
        tell(&mut presence, ONE, 2, joined(vec![8]));
        assert_eq!(best(&presence), [Level::FREE; 2]);
        tell(&mut presence, TWO, 1, News::Left);
        assert_eq!(best(&presence), [Level::Absent, Level::FREE]);
        tell(&mut presence, ONE, 2, News::Left);
        assert!(presence.groups.is_empty());
    }

    #[test]
    fn a_member_of_very_many_groups_may_be_free_in_all_of_them() {
        let mut presence = Presence::default();
        let many = 1 + COUNTED_GROUPS as u64;
        tell(&mut presence, ONE, 1, joined((1..many).collect()));
        tell(&mut presence, ONE, 1, News::Level(Level::Busy));
        assert!((1..many).all(|group| presence.best_of(group) == Level::Busy));
        tell(&mut presence, ONE, 1, joined(vec![many]));
        assert!((1..=many).all(|group| presence.best_of(group) == Level::FREE));
        tell(&mut presence, ONE, 1, News::Level(Level::Full));
        assert!((1..=many).all(|group| presence.best_of(group) == Level::FREE));
        tell(&mut presence, ONE, 1, News::Left);
        assert!(presence.groups.is_empty());
    }

    #[test]
    fn a_connection_that_was_taken_over_from_is_not_believed() {
        let mut presence = Presence::default();
        tell(&mut presence, ONE, 1, joined(vec![7]));
        tell(&mut presence, ONE, 2, joined(vec![8]));
        assert!(!presence.has_other(7, TWO) && presence.has_other(8, TWO));
        tell(&mut presence, ONE, 1, News::Level(Level::Busy));
        tell(&mut presence, ONE, 1, News::Left);
        assert_eq!(presence.level(ONE, false, "t"), Level::FREE);
    }

    #[test]
    fn who_may_not_receive_a_message_is_known_also_when_rules_change() {
        use crate::access::{Action, Effect, Policy, Rule};
        let access = |topic| {
            let rule = Rule::new(Effect::Allow, Action::Subscribe, topic);
            Arc::new(Access::new(vec![rule], Policy::default()))
        };
        let mut presence = Presence::default();
        tell(&mut presence, ONE, 1, joined(vec![7]));
        let levels = |presence: &Presence| ["t", "u"].map(|topic| presence.level(ONE, false, topic));
        assert_eq!(levels(&presence), [Level::FREE; 2]);
        let set = |presence: &mut Presence, access: Arc<Access>| {
            presence.set_access(&access);
            while !presence.is_current() {
                presence.judge(1);
            }
        };
        set(&mut presence, access("t"));
        assert_eq!(levels(&presence), [Level::FREE, Level::Denied]);
        tell(&mut presence, ONE, 2, joined(vec![7]));
        assert_eq!(levels(&presence), [Level::FREE, Level::Denied]);
        set(&mut presence, access("u"));
        assert_eq!(levels(&presence), [Level::Denied, Level::FREE]);
        set(&mut presence, Arc::default());
        assert_eq!(levels(&presence), [Level::FREE; 2]);
    }

    #[test]
    fn what_a_member_has_under_way_counts_only_where_it_is_asked_for() {
        assert!(Level::FREE < Level::Connected { load: 2 });
        assert!(Level::Connected { load: 200 } < Level::Busy);
        assert!(
            Level::Busy < Level::Absent
                && Level::Absent < Level::Unheard
                && Level::Unheard < Level::Full
                && Level::Full < Level::Not
                && Level::Not < Level::Gone
        );
        assert!(Level::Busy < Level::Absent && Level::Absent < Level::Unheard && Level::Unheard < Level::Not);
        assert!(Level::Not < Level::Gone && Level::Gone < Level::Denied);
        assert_eq!(Level::Connected { load: 2 }.without_load(), Level::FREE);
    }
}
