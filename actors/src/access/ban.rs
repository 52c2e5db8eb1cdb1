//! Who is not let in, whatever rules say: a list of its own, so that a ban says nothing about anybody else. A rule that
//! denies `connect` is the first one about it, and by that denies it to everybody whom no rule allows it.

use std::collections::BTreeMap;

use super::address::Network;
use super::rule::{Name, Who};
use crate::clock::Millis;

/// Everything that is said has to fit; something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    pub client_id: Option<Name>,
    /// A user name that was proven.
    pub user: Option<Name>,
    pub address: Option<Network>,
    /// Milliseconds since 1970; `None` for one that does not end.
    pub until: Option<Millis>,
    /// For operators; Clients are not told.
    pub reason: Box<str>,
}

impl Ban {
    fn is_of(&self, who: &Who<'_>) -> bool {
        self.client_id.as_ref().is_none_or(|name| name.fits(who.client_id))
            && self.user.as_ref().is_none_or(|name| who.user.is_some_and(|user| name.fits(user)))
            && self.address.is_none_or(|network| network.contains(who.address))
    }

    pub fn is_over(&self, now: Millis) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Bans, found by what they name exactly; the others are looked at one by one.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    all: Vec<Ban>,
    clients: BTreeMap<Box<str>, Vec<u32>>,
    users: BTreeMap<Box<str>, Vec<u32>>,
    others: Vec<u32>,
}

impl Bans {
    /// More are refused: those that name nobody exactly are looked at with every CONNECT.
    pub const LIMIT: usize = 10_000;

    pub fn new(all: Vec<Ban>) -> Self {
        let mut bans = Self::default();
        for (ban, number) in all.iter().zip(0..) {
            let list = match (&ban.client_id, &ban.user) {
                (Some(Name::Exactly(name)), _) => bans.clients.entry(name.clone()).or_default(),
                (_, Some(Name::Exactly(name))) => bans.users.entry(name.clone()).or_default(),
                _ => &mut bans.others,
            };
            list.push(number);
        }
        Self { all, ..bans }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bans that are looked at one by one for a Client.
    pub(crate) fn size(&self) -> usize {
        self.others.len()
    }

    /// Whether somebody is banned at this time of the wall clock.
    pub fn hit(&self, who: &Who<'_>, now: Millis) -> bool {
        let of = |map: &BTreeMap<Box<str>, Vec<u32>>, name: &str| {
            map.get(name).is_some_and(|numbers| self.any(numbers, who, now))
        };
        !self.all.is_empty()
            && (of(&self.clients, who.client_id)
                || who.user.is_some_and(|user| of(&self.users, user))
                || self.any(&self.others, who, now))
    }

    fn any(&self, numbers: &[u32], who: &Who<'_>, now: Millis) -> bool {
        let mut bans = numbers.iter().map(|number| &self.all[*number as usize]);
        bans.any(|ban| !ban.is_over(now) && ban.is_of(who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(client_id: Option<&str>, user: Option<&str>, address: Option<&str>) -> Ban {
        let name = |name: Option<&str>| name.map(Name::parse);
        let address = address.map(|address| address.parse().unwrap());
        Ban { client_id: name(client_id), user: name(user), address, until: None, reason: "".into() }
    }

    #[test]
    fn everything_that_a_ban_says_has_to_fit() {
        let who = |client_id: &'static str, user: Option<&'static str>, address: &str| Who {
            client_id,
            user,
            address: address.parse().unwrap(),
            listener: "l",
        };
        let (car, stranger) = (who("car-1", Some("fleet"), "10.0.0.1"), who("x", None, "192.168.0.1"));
        let same_id = who("car-1", None, "192.168.0.1");
        let beside = ban(Some("y"), None, None);
        for (ban, hit) in [
            (ban(Some("car-1"), None, None), [true, false, true]),
            (ban(Some("car-*"), None, None), [true, false, true]),
            (ban(None, Some("fleet"), None), [true, false, false]),
            (ban(None, Some("*"), None), [true, false, false]),
            (ban(None, None, Some("192.168.0.0/16")), [false, true, true]),
            (ban(Some("car-1"), Some("other"), None), [false, false, false]),
            (ban(Some("car-1"), Some("fleet"), Some("10.0.0.1")), [true, false, false]),
            (ban(Some("car-1"), None, Some("10.0.0.2")), [false, false, false]),
        ] {
            // Others beside it change nothing.
            let bans = Bans::new(vec![beside.clone(), ban.clone()]);
            let found = [car, stranger, same_id].map(|who| bans.hit(&who, 5));
            assert_eq!(found, hit, "{ban:?}");
            let over = Bans::new(vec![Ban { until: Some(5), ..ban.clone() }]);
            assert_eq!([car, stranger, same_id].map(|who| over.hit(&who, 5)), [false; 3]);
            assert_eq!([car, stranger, same_id].map(|who| over.hit(&who, 4)), hit);
        }
        assert!(!Bans::default().hit(&car, 0));
    }
}
