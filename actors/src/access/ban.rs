//! Who is not let in, whatever rules say: a list of its own, so that a ban says nothing about anybody else. A rule that
//! denies `connect` is the first one about it, and by that denies it to everybody whom no rule allows it.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::address::Network;
use super::rule::Name;
use crate::author::Who;
use crate::clock::Millis;

/// Everything that is said has to fit; something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// A Client Identifier, or the beginning of some and an asterisk.
    pub client_id: Option<Name>,
    /// A user name that was proven, in the same way.
    pub user: Option<Name>,
    /// An address or a network that the Client comes from.
    pub address: Option<Network>,
    /// When it ends; without it, never.
    // Milliseconds since 1970.
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

/// Bans. Each is found by one thing that it says: the one that the fewest say. So what a CONNECT costs hangs on how many
/// sorts of things bans say, and not on how many bans there are.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    all: Vec<Ban>,
    /// By the hash of what they are found by. Two that have one are only looked at together.
    places: FxHashMap<u64, Vec<u32>>,
    sorts: BTreeSet<Sort>,
}

/// A sort of things that bans say. Those of one sort are found at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Client,
    User,
    /// The beginning of a Client Identifier, of so many bytes.
    ClientBegins(usize),
    UserBegins(usize),
    /// A network of IPv4, with so many bits.
    V4(u8),
    V6(u8),
}

impl Sort {
    /// The hash of what somebody has of this sort.
    fn of(self, who: &Who<'_>) -> Option<u64> {
        let begins = |name: &str, bytes| name.get(..bytes).map(|beginning| self.hash(beginning.as_bytes()));
        match self {
            Self::Client => Some(self.hash(who.client_id.as_bytes())),
            Self::User => who.user.map(|user| self.hash(user.as_bytes())),
            Self::ClientBegins(bytes) => begins(who.client_id, bytes),
            Self::UserBegins(bytes) => who.user.and_then(|user| begins(user, bytes)),
            Self::V4(bits) | Self::V6(bits) => {
                let network = Network::around(who.address, bits)?;
                (Self::of_network(network) == self).then(|| self.hash(&network.first().to_be_bytes()))
            }
        }
    }

    fn of_network(network: Network) -> Self {
        if network.is_v4() { Self::V4(network.bits()) } else { Self::V6(network.bits()) }
    }

    fn hash(self, of: &[u8]) -> u64 {
        let seed = match self {
            Self::Client => 0,
            Self::User => 1,
            Self::ClientBegins(_) => 2,
            Self::UserBegins(_) => 3,
            Self::V4(bits) => 4 | u64::from(bits) << 3,
            Self::V6(bits) => 5 | u64::from(bits) << 3,
        };
        xxh3_64_with_seed(of, seed)
    }
}

/// All that a ban may be found by.
fn handles(ban: &Ban) -> impl Iterator<Item = (Sort, u64)> {
    let named = |name: &Option<Name>, whole: Sort, begins: fn(usize) -> Sort| {
        name.as_ref().map(|name| {
            let (sort, text) = match name {
                Name::Exactly(text) => (whole, text),
                Name::BeginsWith(text) => (begins(text.len()), text),
            };
            (sort, sort.hash(text.as_bytes()))
        })
    };
    let network = ban.address.map(|network| {
        let sort = Sort::of_network(network);
        (sort, sort.hash(&network.first().to_be_bytes()))
    });
    let client = named(&ban.client_id, Sort::Client, Sort::ClientBegins);
    let user = named(&ban.user, Sort::User, Sort::UserBegins);
    [client, user, network].into_iter().flatten()
}

impl Bans {
    /// More are refused: all shards are told all of them with every one that is added.
    pub const LIMIT: usize = 10_000;

    pub fn new(all: Vec<Ban>) -> Self {
        let mut common: FxHashMap<u64, u32> = FxHashMap::default();
        for (_, hash) in all.iter().flat_map(handles) {
            *common.entry(hash).or_default() += 1;
        }
        let mut bans = Self::default();
        for (ban, number) in all.iter().zip(0..) {
            if let Some((sort, hash)) = handles(ban).min_by_key(|(_, hash)| common[hash]) {
                bans.sorts.insert(sort);
                bans.places.entry(hash).or_default().push(number);
            }
        }
        Self { all, ..bans }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Places that are looked at for a Client.
    pub(crate) fn size(&self) -> usize {
        self.sorts.len()
    }

    /// Whether somebody is banned at this time of the wall clock.
    pub fn hit(&self, who: &Who<'_>, now: Millis) -> bool {
        self.nearby(who).any(|ban| !ban.is_over(now) && ban.is_of(who))
    }

    /// The bans that may be on somebody: those found by something that it has.
    fn nearby(&self, who: &Who<'_>) -> impl Iterator<Item = &Ban> {
        let places = self.sorts.iter().filter_map(|sort| self.places.get(&sort.of(who)?));
        places.flatten().map(|number| &self.all[*number as usize])
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

    #[test]
    fn what_a_connect_costs_does_not_hang_on_how_many_bans_there_are() {
        let who = |client_id, user, address: &str| Who {
            client_id,
            user,
            address: address.parse().unwrap(),
            listener: "l",
        };
        let stranger = who("car-00007-x", Some("fleet"), "10.7.7.7");
        let shapes: [fn(u32) -> Ban; 6] = [
            |at| ban(Some(&format!("van-{at:05}*")), None, None),
            |at| ban(None, Some(&format!("user-{at:05}*")), None),
            |at| ban(None, None, Some(&format!("11.{}.{}.0/24", at >> 8, at & 255))),
            |at| ban(None, None, Some(&format!("2001:db8:{at:x}::/48"))),
            // What many say is not what each is found by.
            |at| ban(Some(&format!("van-{at:05}*")), Some("fleet"), None),
            |at| ban(Some("*"), Some("fl*"), Some(&format!("11.{}.{}.1", at >> 8, at & 255))),
        ];
        for shape in shapes {
            let mut all: Vec<_> = (0..Bans::LIMIT as u32).map(shape).collect();
            let bans = Bans::new(all.clone());
            assert_eq!((bans.nearby(&stranger).count(), bans.sorts.len()), (0, 1), "{:?}", all[0]);
            all[1234] = ban(Some("car-00007*"), None, None);
            let bans = Bans::new(all);
            assert!(bans.hit(&stranger, 0));
            assert!(bans.nearby(&stranger).count() == 1 && bans.sorts.len() <= 2);
        }
        // An IPv4 address that came as IPv6, and the first of names that are no whole characters.
        let bans = Bans::new(vec![ban(None, None, Some("10.7.0.0/16")), ban(Some("é*"), None, None)]);
        assert!(bans.hit(&who("x", None, "::ffff:10.7.1.2"), 0));
        assert!(!bans.hit(&who("aé", None, "::10.7.1.2"), 0));
    }
}
