//! What is stored of each user and of all of them together, so that nobody fills a node by asking for ever more of what
//! is small: Sessions, messages that wait for them, Retained Messages.
//!
//! A shard counts what its own slots hold, without error: with every change, and out of their rows when they are opened.
//! What other shards hold it is told a few times a second. What is told of a user comes in steps of a share of its limit, so
//! that the many who store little cost nothing but an entry in the shard that holds it. A limit is therefore exceeded at
//! most by what others take between two ticks, and that of a user by one part in [`STEPS`] more.

use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What all other shards together may not have told of a user is one part in so many of its limit.
pub const STEPS: u64 = 16;

/// The hash of a user's name. It stands in rows: it never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(pub u64);

impl User {
    /// Clients without a user name: together they are one.
    pub const NOBODY: Self = Self(0);

    pub fn of(name: &str) -> Self {
        match name {
            "" => Self::NOBODY,
            name => Self(xxh3_64_with_seed(name.as_bytes(), 0).max(1)),
        }
    }
}

/// How much is stored, or may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions that outlive their connections.
    pub sessions: u64,
    /// Bytes that wait for Sessions on disk, and of their Wills.
    pub stored_bytes: u64,
    /// Of these, those of Wills: a Session that is connected has its Will in memory too.
    pub will_bytes: u64,
    pub retained_messages: u64,
    pub retained_bytes: u64,
}

impl Usage {
    pub const UNLIMITED: Self = Self {
        sessions: u64::MAX,
        stored_bytes: u64::MAX,
        will_bytes: u64::MAX,
        retained_messages: u64::MAX,
        retained_bytes: u64::MAX,
    };

    fn with(self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sessions: both(self.sessions, other.sessions),
            stored_bytes: both(self.stored_bytes, other.stored_bytes),
            will_bytes: both(self.will_bytes, other.will_bytes),
            retained_messages: both(self.retained_messages, other.retained_messages),
            retained_bytes: both(self.retained_bytes, other.retained_bytes),
        }
    }

    /// Both together.
    pub fn and(self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// Without what is gone. Rows that could not be read were not counted, and may yet go.
    pub fn without(self, other: &Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    /// By how much this is more than `before`, or less: see [`Usage::changed_by`].
    fn change_from(self, before: &Self) -> Self {
        self.with(before, u64::wrapping_sub)
    }

    fn changed_by(self, change: &Self) -> Self {
        self.with(change, u64::wrapping_add)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fields(&self) -> [u64; 5] {
        [self.sessions, self.stored_bytes, self.will_bytes, self.retained_messages, self.retained_bytes]
    }
}

/// Sums by user, and of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    total: Usage,
    users: FxHashMap<User, Usage>,
}

impl Sums {
    pub fn add(&mut self, user: User, more: &Usage) {
        self.change(user, |usage| usage.and(more));
    }

    pub fn remove(&mut self, user: User, gone: &Usage) {
        self.change(user, |usage| usage.without(gone));
    }

    fn change(&mut self, user: User, change: impl Fn(Usage) -> Usage) {
        self.total = change(self.total);
        let usage = self.users.entry(user).or_default();
        *usage = change(*usage);
        if usage.is_empty() {
            self.users.remove(&user);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total.is_empty() && self.users.is_empty()
    }

    pub fn total(&self) -> Usage {
        self.total
    }

    pub fn of(&self, user: User) -> Usage {
        self.users.get(&user).copied().unwrap_or_default()
    }
}

/// How much the node may store, and each user of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub node: Usage,
    pub user: Usage,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { node: Usage::UNLIMITED, user: Usage::UNLIMITED }
    }
}

/// What would be stored of the node and of one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub node: Usage,
    pub user: Usage,
}

impl Used {
    /// The key of the limit that does not allow so much more, if one does not.
    pub fn exceeds(&self, allowance: &Allowance, more: &Self) -> Option<&'static str> {
        const NODE: [&str; 5] =
            ["sessions", "stored_bytes", "will_bytes", "retained_messages", "retained_bytes"];
        const USER: [&str; 5] = [
            "sessions_per_user",
            "stored_bytes_per_user",
            "will_bytes_per_user",
            "retained_messages_per_user",
            "retained_bytes_per_user",
        ];
        let over = |used: &Usage, more: &Usage, limit: &Usage, keys: [&'static str; 5]| {
            let all = used.and(more).fields().into_iter().zip(more.fields());
            let mut all = all.zip(limit.fields()).zip(keys);
            all.find(|(((all, more), limit), _)| *more > 0 && all > limit).map(|(_, key)| key)
        };
        let node = over(&self.node, &more.node, &allowance.node, NODE);
        node.or_else(|| over(&self.user, &more.user, &allowance.user, USER))
    }
}

/// What this shard tells another one: by how much it holds more or less of a user, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    total: Usage,
    users: Vec<(User, Usage)>,
}

/// What a shard knows of what is stored on its node.
#[derive(Debug, Default)]
pub struct Budget {
    allowance: Allowance,
    own: Sums,
    /// Bytes on their way from slot to slot, which are no user's.
    outboxes: u64,
    others: Sums,
    /// What others were told of `own`, where they were told anything.
    told: FxHashMap<User, Usage>,
    told_total: Usage,
    /// Users of whom something has changed since others were told last.
    changed: FxHashSet<User>,
    last: Option<User>,
}

impl Budget {
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, ..Self::default() }
    }

    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Whether more waits for the Sessions of a user than may.
    pub fn is_over(&self, user: User) -> bool {
        let limit = self.allowance.user.stored_bytes;
        limit < u64::MAX && self.own.of(user).and(&self.others.of(user)).stored_bytes > limit
    }

    /// So many bytes wait in outboxes here.
    pub fn set_outboxes(&mut self, bytes: u64) {
        self.outboxes = bytes;
    }

    /// All that this shard holds.
    pub fn total(&self) -> Usage {
        self.own.total.and(&Usage { stored_bytes: self.outboxes, ..Usage::default() })
    }

    /// What is stored here for a user was `before`.
    pub fn change(&mut self, user: User, before: &Usage, after: &Usage) {
        if before == after {
            return;
        }
        self.own.change(user, |usage| usage.without(before).and(after));
        if self.last != Some(user) {
            self.last = Some(user);
            self.changed.insert(user);
        }
    }

    /// What the node holds, and what of a user.
    pub fn used(&self, user: User) -> Used {
        Used {
            node: self.total().and(&self.others.total),
            user: self.own.of(user).and(&self.others.of(user)),
        }
    }

    /// What the slots of this shard hold of a user.
    pub fn held(&self, user: User) -> Usage {
        self.own.of(user)
    }

    /// What the slots of this shard hold.
    #[cfg(test)]
    pub fn own(&self) -> &Sums {
        &self.own
    }

    /// What others have to be told; nothing if nothing has changed that matters to them.
    pub fn report(&mut self, shards: u16) -> Option<Report> {
        self.last = None;
        let limit = self.allowance.user;
        let mut report = Report::default();
        for user in self.changed.drain() {
            let (own, told) = (self.own.of(user), self.told.get(&user).copied().unwrap_or_default());
            let far = |((own, told), limit): ((u64, u64), u64)| {
                own.abs_diff(told) > limit / STEPS / u64::from(shards)
            };
            let is_gone = own.is_empty() && !told.is_empty();
            if is_gone || own.fields().into_iter().zip(told.fields()).zip(limit.fields()).any(far) {
                report.users.push((user, own.change_from(&told)));
                match own.is_empty() {
                    true => self.told.remove(&user),
                    false => self.told.insert(user, own),
                };
            }
        }
        let total = self.total();
        report.total = total.change_from(&self.told_total);
        self.told_total = total;
        (!report.users.is_empty() || !report.total.is_empty()).then_some(report)
    }

    /// What another shard tells.
    pub fn hear(&mut self, report: &Report) {
        for (user, change) in &report.users {
            let usage = self.others.users.entry(*user).or_default();
            *usage = usage.changed_by(change);
            if usage.is_empty() {
                self.others.users.remove(user);
            }
        }
        self.others.total = self.others.total.changed_by(&report.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(sessions: u64) -> Usage {
        Usage { sessions, ..Usage::default() }
    }

    #[test]
    fn others_are_told_of_all_and_of_users_who_store_much() {
        let allowance = Allowance { user: sessions(3200), ..Allowance::default() };
        let (mut here, mut there) = (Budget::new(allowance), Budget::new(allowance));
        let (much, little) = (User::of("much"), User::of("little"));
        here.change(much, &sessions(0), &sessions(101));
        here.change(little, &sessions(0), &sessions(100));
        there.hear(&here.report(2).unwrap());
        assert_eq!(there.used(much), Used { node: sessions(201), user: sessions(101) });
        assert_eq!(there.used(little).user, sessions(0));
        assert_eq!(here.report(2), None);
        here.change(much, &sessions(101), &sessions(0));
        here.change(little, &sessions(100), &sessions(0));
        there.hear(&here.report(2).unwrap());
        assert!(there.others.is_empty() && here.told.is_empty() && here.own.is_empty());
    }

    #[test]
    fn what_is_told_never_drifts() {
        let limit = Usage { sessions: 64, stored_bytes: 1 << 20, ..Usage::UNLIMITED };
        let allowance = Allowance { user: limit, ..Allowance::default() };
        let mut shards = [(); 3].map(|()| Budget::new(allowance));
        let mut held: FxHashMap<(usize, User), Usage> = FxHashMap::default();
        let mut chance = 7_u64;
        let mut next = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for round in 0..20_000 {
            let (at, user) = (next(3) as usize, User(next(40)));
            let before = held.entry((at, user)).or_default();
            let after = Usage { sessions: next(30), stored_bytes: next(1 << 18), ..Usage::default() };
            let after = if next(4) == 0 { Usage::default() } else { after };
            shards[at].change(user, before, &after);
            *before = after;
            if round % 7 == 0 {
                let from = next(3) as usize;
                let report = shards[from].report(3);
                for to in (0..3).filter(|to| *to != from) {
                    report.iter().for_each(|report| shards[to].hear(report));
                }
            }
        }
        for from in 0..3 {
            let report = shards[from].report(3);
            (0..3)
                .filter(|to| *to != from)
                .for_each(|to| report.iter().for_each(|report| shards[to].hear(report)));
        }
        let all = held.values().fold(Usage::default(), |all, usage| all.and(usage));
        for (user, shard) in (0..40).flat_map(|user| shards.iter().map(move |shard| (User(user), shard))) {
            let of =
                (0..3).filter_map(|at| held.get(&(at, user))).fold(Usage::default(), |all, of| all.and(of));
            let used = shard.used(user);
            assert_eq!(used.node, all);
            assert!(of.sessions.abs_diff(used.user.sessions) <= limit.sessions / STEPS);
            assert!(of.stored_bytes.abs_diff(used.user.stored_bytes) <= limit.stored_bytes / STEPS);
        }
    }

    #[test]
    fn only_what_would_grow_is_refused() {
        let allowance = Allowance { node: sessions(5), user: sessions(3) };
        let used = |node, user| Used { node: sessions(node), user: sessions(user) };
        let more = used(1, 1);
        assert_eq!(used(4, 2).exceeds(&allowance, &more), None);
        assert_eq!(used(5, 2).exceeds(&allowance, &more), Some("sessions"));
        assert_eq!(used(4, 3).exceeds(&allowance, &more), Some("sessions_per_user"));
        assert_eq!(used(9, 9).exceeds(&allowance, &Used::default()), None);
    }
}
