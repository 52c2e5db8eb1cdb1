//! Topic Aliases towards a Client (MQTT 5.0, 3.3.2.3.4): the first topics that it gets messages of are given one while
//! there are some left. They are never given to another topic: where a Client gets messages of more topics than it
//! takes aliases, changing them would cost bytes and save none.

use convoy_wire::TopicAlias;
use rustc_hash::FxHashMap;

#[derive(Debug)]
pub struct Aliases {
    maximum: u16,
    known: FxHashMap<Box<str>, TopicAlias>,
}

/// How a topic is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By the alias alone.
    Alias(TopicAlias),
    /// By its name, and from then on by this alias: to be confirmed by [`Aliases::learn`] once that is written.
    Both(TopicAlias),
    Name,
}

impl Aliases {
    /// For a Client that takes `maximum` of them, which is not zero.
    pub fn new(maximum: u16) -> Self {
        Self { maximum, known: FxHashMap::default() }
    }

    pub fn naming(&self, topic: &str) -> Naming {
        if let Some(alias) = self.known.get(topic) {
            return Naming::Alias(*alias);
        }
        let next = self.known.len() as u64 + 1;
        match u16::try_from(next).ok().filter(|next| *next <= self.maximum).and_then(TopicAlias::new) {
            Some(alias) => Naming::Both(alias),
            None => Naming::Name,
        }
    }

    pub fn learn(&mut self, topic: &str, alias: TopicAlias) {
        self.known.insert(topic.into(), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_an_alias_each_and_keep_it() {
        let mut aliases = Aliases::new(2);
        let [one, two] = [1, 2].map(|alias| TopicAlias::new(alias).unwrap());
        assert_eq!(aliases.naming("a"), Naming::Both(one));
        // What was not written is not known to the Client.
        assert_eq!(aliases.naming("b"), Naming::Both(one));
        aliases.learn("b", one);
        assert_eq!(aliases.naming("b"), Naming::Alias(one));
        assert_eq!(aliases.naming("a"), Naming::Both(two));
        aliases.learn("a", two);
        assert_eq!(aliases.naming("c"), Naming::Name);
        assert_eq!(aliases.naming("a"), Naming::Alias(two));
    }
}
