//! Topic Names and Topic Filters [4.7]: two kinds of text, never swapped.
//!
//! Both borrow, and both are checked once, when they are made. Levels are walked in loops: a topic of 65,535 slashes
//! must not become a stack of that depth (CVE-2019-11779).

use alloc::string::String;
use core::fmt;

use crate::list::Element;
use crate::reader::Reader;
use crate::{Error, ReasonCode, text};

const SHARE_PREFIX: &str = "$share/";

// Topic Name Invalid and Topic Filter Invalid are for what is well formed and still not accepted (MQTT 5.0, 3.14.2.1):
// here for more levels than the receiver allows. What breaks the grammar is Malformed Packet.
const fn too_many_levels(reason: ReasonCode) -> Error {
    Error::new(reason, "[4.7] more topic levels than the receiver allows")
}

/// What an Application Message is published to. It has no wildcard and at least one character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    pub fn new(name: &'a str) -> Result<Self, Error> {
        if name.len() > text::BYTES_MAX {
            return Err(Error::malformed("[MQTT-4.7.3-3] a Topic Name is not longer than 65,535 bytes"));
        }
        if name.is_empty() {
            return Err(EMPTY_NAME);
        }
        check_name(name)?;
        Ok(Self(name))
    }

    /// From a name that was checked before.
    #[inline]
    pub(crate) const fn checked(name: &'a str) -> Self {
        Self(name)
    }

    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    #[inline]
    pub fn levels(self) -> core::str::Split<'a, char> {
        self.0.split('/')
    }

    /// Refuses a name of more than `limit` levels.
    pub fn check_levels(self, limit: usize) -> Result<(), Error> {
        if exceeds(self.0, limit) { Err(too_many_levels(ReasonCode::TopicNameInvalid)) } else { Ok(()) }
    }

    /// The first level, which names the parent topic. It may be empty: "/a" has an empty first level.
    pub fn parent(self) -> &'a str {
        first_level(self.0)
    }

    /// Whether the Server keeps it for itself: leading wildcards do not reach it [MQTT-4.7.2-1].
    #[inline]
    pub fn is_internal(self) -> bool {
        self.0.starts_with('$')
    }
}

const EMPTY_NAME: Error = Error::malformed("[MQTT-4.7.3-1] a Topic Name has at least one character");

/// A Topic Name as it was received, which may be empty: an empty one is for the caller to judge, as 5.0 allows it
/// beside a Topic Alias.
#[inline]
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Result<&str, Error> {
    let name = text::well_formed(bytes)?;
    check_name(name)?;
    Ok(name)
}

#[inline]
fn check_name(name: &str) -> Result<(), Error> {
    let found = text::scan(name, [b'#', b'+']);
    if found.is_refused || (found.is_wide && text::has_wide_control(name)) {
        Err(name_error(name))
    } else {
        Ok(())
    }
}

#[cold]
fn name_error(name: &str) -> Error {
    if name.contains('\0') {
        text::NUL
    } else if name.contains(['#', '+']) {
        Error::malformed("[MQTT-3.3.2-2] a Topic Name does not contain wildcard characters")
    } else {
        text::CONTROL
    }
}

/// What a Subscription asks for: a Topic Name in which `+` stands for one level and a last `#` for all that follow.
///
/// `$share/{ShareName}/{filter}` is a Topic Filter too, in every version: 3.1.1 leaves topics that begin with `$` to
/// the Server, and this Server gives `$share` the meaning of 5.0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    pub fn new(filter: &'a str) -> Result<Self, Error> {
        if filter.len() > text::BYTES_MAX {
            return Err(Error::malformed("[MQTT-4.7.3-3] a Topic Filter is not longer than 65,535 bytes"));
        }
        if filter.as_bytes().contains(&0) {
            return Err(text::NUL);
        }
        text::check_name(filter)?;
        match filter.strip_prefix(SHARE_PREFIX) {
            Some(shared) => {
                check_shared(shared)?;
            }
            None => check_filter(filter)?,
        }
        Ok(Self(filter))
    }

    #[inline]
    pub(crate) const fn checked(filter: &'a str) -> Self {
        Self(filter)
    }

    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    #[inline]
    pub fn levels(self) -> core::str::Split<'a, char> {
        self.0.split('/')
    }

    /// Refuses a filter of more than `limit` levels; `$share` and the Share Name are not counted.
    pub fn check_levels(self, limit: usize) -> Result<(), Error> {
        let filter = self.shared().map_or(self.0, |shared| shared.filter.0);
        if exceeds(filter, limit) { Err(too_many_levels(ReasonCode::TopicFilterInvalid)) } else { Ok(()) }
    }

    /// The first level; `None` if it is a wildcard. Of a shared filter, ask the filter inside.
    pub fn parent(self) -> Option<&'a str> {
        Some(first_level(self.0)).filter(|level| !matches!(*level, "+" | "#"))
    }

    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// The parts of a Shared Subscription's filter; `None` if it is not shared.
    pub fn shared(self) -> Option<SharedFilter<'a>> {
        let (share_name, filter) = self.0.strip_prefix(SHARE_PREFIX)?.split_once('/')?;
        Some(SharedFilter { share_name, filter: TopicFilter(filter) })
    }

    #[inline]
    pub fn is_shared(self) -> bool {
        self.0.starts_with(SHARE_PREFIX)
    }

    /// See [`matches()`].
    #[inline]
    pub fn matches(self, name: TopicName<'_>) -> bool {
        matches(self, name)
    }
}

/// The Topic Filter of a Shared Subscription, taken apart [4.8.2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedFilter<'a> {
    pub share_name: &'a str,
    pub filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    /// `Ok(None)` if `filter` is a good Topic Filter that is not shared.
    pub fn parse(filter: &'a str) -> Result<Option<Self>, Error> {
        TopicFilter::new(filter).map(TopicFilter::shared)
    }
}

/// Whether a message published to `name` is one that `filter` asks for [4.7.1, 4.7.2].
///
/// The filter of a Shared Subscription is compared as it is written; ask with the filter inside.
pub fn matches(filter: TopicFilter<'_>, name: TopicName<'_>) -> bool {
    if name.is_internal() && filter.0.starts_with(['+', '#']) {
        return false;
    }
    // Byte by byte: splitting both into levels first takes three times as long.
    let mut rest = name.0.as_bytes();
    let filter = filter.0.as_bytes();
    for (at, &wanted) in filter.iter().enumerate() {
        match wanted {
            b'#' => return true,
            b'+' => {
                let level = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                rest = &rest[level..];
            }
            _ => match rest.split_first() {
                Some((&byte, after)) if byte == wanted => rest = after,
                Some(_) => return false,
                // The parent level itself matches too: "sport/#" asks for "sport" as well.
                None => return filter[at..] == *b"/#",
            },
        }
    }
    rest.is_empty()
}

fn check_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Err(Error::malformed("[MQTT-4.7.3-1] a Topic Filter has at least one character"));
    }
    let bytes = filter.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte != b'#' && byte != b'+' {
            continue;
        }
        let opens_level = at == 0 || bytes[at - 1] == b'/';
        if byte == b'#' && !(opens_level && at + 1 == bytes.len()) {
            return Err(Error::malformed("[MQTT-4.7.1-1] # is a level of its own and the last one"));
        }
        if byte == b'+' && !(opens_level && matches!(bytes.get(at + 1), None | Some(b'/'))) {
            return Err(Error::malformed("[MQTT-4.7.1-2] + is a level of its own"));
        }
    }
    Ok(())
}

/// What follows `$share/`. It is a text like any other, so what is wrong with it is a Protocol Error; the Topic Filter
/// inside has the grammar of all Topic Filters.
fn check_shared(shared: &str) -> Result<(), Error> {
    let no_filter = Error::protocol("[MQTT-4.8.2-2] a Share Name is followed by / and a Topic Filter");
    let (share_name, filter) = shared.split_once('/').ok_or(no_filter)?;
    if share_name.is_empty() {
        return Err(Error::protocol("[MQTT-4.8.2-1] a Share Name has at least one character"));
    }
    if share_name.contains(['+', '#']) {
        return Err(Error::protocol("[MQTT-4.8.2-2] a Share Name does not contain wildcard characters"));
    }
    if filter.is_empty() {
        return Err(no_filter);
    }
    check_filter(filter)
}

fn exceeds(text: &str, levels_limit: usize) -> bool {
    text.bytes().filter(|byte| *byte == b'/').count() >= levels_limit
}

fn first_level(text: &str) -> &str {
    text.split_once('/').map_or(text, |(first, _)| first)
}

impl<'a> Element<'a> for TopicFilter<'a> {
    type Of<'b> = TopicFilter<'b>;

    fn next(reader: &mut Reader<'a>) -> Option<Self> {
        reader.text().ok().map(Self::checked)
    }
}

macro_rules! text_traits {
    ($name:ident) => {
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.0, f)
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0, f)
            }
        }

        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                self.0
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = Error;

            fn try_from(text: &'a str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name<'_>> for String {
            fn from(text: $name<'_>) -> Self {
                text.0.into()
            }
        }
    };
}

text_traits!(TopicName);
text_traits!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn asks_for(wanted: &str, name: &str) -> bool {
        matches(filter(wanted), TopicName::new(name).unwrap())
    }

    #[track_caller]
    fn assert_filter_refused(text: &str, rule: &str) {
        let error = TopicFilter::new(text).unwrap_err();
        let reason = match rule.starts_with("[MQTT-4.8.2-") {
            true => ReasonCode::ProtocolError,
            false => ReasonCode::MalformedPacket,
        };
        assert_eq!(error.reason, reason, "{text}");
        assert!(error.rule.starts_with(rule), "{text}: {error}");
    }

    #[test]
    fn a_multi_level_wildcard_is_a_level_of_its_own_and_the_last() {
        for text in ["sport/tennis#", "sport/#/ranking", "##", "#/", "a#", "#a"] {
            assert_filter_refused(text, "[MQTT-4.7.1-1]");
        }
        for text in ["#", "/#", "sport/#", "+/#"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_single_level_wildcard_is_a_level_of_its_own() {
        for text in ["sport+", "+a", "a/+b/c", "++", "a/b+"] {
            assert_filter_refused(text, "[MQTT-4.7.1-2]");
        }
        for text in ["+", "+/tennis/#", "sport/+/player1", "/+", "+/", "+/+"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_examples_of_4_7_1_match() {
        for name in
            ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"]
        {
            assert!(asks_for("sport/tennis/player1/#", name), "{name}");
        }
        assert!(asks_for("sport/#", "sport"));
        assert!(asks_for("sport/tennis/+", "sport/tennis/player1"));
        assert!(!asks_for("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!asks_for("sport/+", "sport"));
        assert!(asks_for("sport/+", "sport/"));
        assert!(asks_for("+/+", "/finance") && asks_for("/+", "/finance"));
        assert!(!asks_for("+", "/finance"));
    }

    #[test]
    fn topics_are_compared_to_the_letter() {
        assert!(!asks_for("ACCOUNTS", "Accounts"));
        assert!(!asks_for("a", "/a") && !asks_for("a/", "a") && !asks_for("a", "a/"));
        assert!(asks_for("a//b", "a//b") && asks_for("a/+/b", "a//b"));
        assert!(!asks_for("a/b", "a/bc") && !asks_for("a/bc", "a/b"));
        assert!(asks_for("+/#", "a") && asks_for("#", "/"));
    }

    #[test]
    fn leading_wildcards_do_not_reach_the_servers_own_topics() {
        // [MQTT-4.7.2-1]
        assert!(!asks_for("#", "$SYS/uptime"));
        assert!(!asks_for("+/uptime", "$SYS/uptime"));
        assert!(asks_for("$SYS/#", "$SYS/uptime") && asks_for("$SYS/+", "$SYS/uptime"));
    }

    #[test]
    fn a_shared_filter_has_a_share_name_and_a_filter() {
        let parts = SharedFilter::parse("$share/crew/lamp/#").unwrap().unwrap();
        assert_eq!((parts.share_name, parts.filter), ("crew", filter("lamp/#")));
        assert_eq!(filter("$share/crew//a").shared().unwrap().filter, filter("/a"));
        // No Shared Subscription, for it does not begin with "$share/".
        assert_eq!(filter("$share").shared(), None);
        assert_eq!(filter("$shared/crew/a").shared(), None);

        assert_filter_refused("$share//a", "[MQTT-4.8.2-1]");
        for text in ["$share/", "$share/crew", "$share/crew/", "$share/cr+ew/a", "$share/#/a", "$share/+/a"] {
            assert_filter_refused(text, "[MQTT-4.8.2-2]");
        }
        assert_filter_refused("$share/crew/a#", "[MQTT-4.7.1-1]");
    }

    #[test]
    fn names_have_no_wildcards_no_nul_and_an_end() {
        for (text, rule) in [
            ("", "[MQTT-4.7.3-1]"),
            ("a/+", "[MQTT-3.3.2-2]"),
            ("a#", "[MQTT-3.3.2-2]"),
            ("a\0", "[MQTT-1.5.4-2]"),
            ("a\n", "[1.5.4]"),
            ("a\u{85}", "[1.5.4]"),
        ] {
            let error = TopicName::new(text).unwrap_err();
            assert!(error.rule.starts_with(rule), "{text:?}: {error}");
        }
        let long = "a".repeat(65_536);
        assert!(TopicName::new(&long).is_err() && TopicFilter::new(&long).is_err());
        assert!(TopicName::new(&long[1..]).is_ok() && TopicFilter::new(&long[1..]).is_ok());
        assert_eq!(TopicFilter::new("a\0").unwrap_err().reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn levels_are_counted_between_slashes_and_behind_the_share_name() {
        let name = TopicName::new("/a/b").unwrap();
        assert!(name.levels().eq(["", "a", "b"]));
        assert_eq!(name.check_levels(3), Ok(()));
        assert_eq!(name.check_levels(2).unwrap_err().reason, ReasonCode::TopicNameInvalid);
        assert_eq!(filter("$share/crew/a/b").check_levels(2), Ok(()));
        assert_eq!(
            filter("$share/crew/a/b").check_levels(1).unwrap_err().reason,
            ReasonCode::TopicFilterInvalid
        );
    }

    #[test]
    fn the_first_level_is_the_parent_unless_it_is_a_wildcard() {
        assert_eq!(TopicName::new("fleet/7/door").unwrap().parent(), "fleet");
        assert_eq!(TopicName::new("/a").unwrap().parent(), "");
        assert_eq!(filter("fleet/#").parent(), Some("fleet"));
        assert_eq!(filter("+/door").parent(), None);
        assert_eq!(filter("#").parent(), None);
    }
}
