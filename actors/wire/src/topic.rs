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

const fn invalid_name(rule: &'static str) -> Error {
    Error::new(ReasonCode::TopicNameInvalid, rule)
}

const fn invalid_filter(rule: &'static str) -> Error {
    Error::new(ReasonCode::TopicFilterInvalid, rule)
}

const LEVELS: &str = "[4.7] more topic levels than the receiver allows";

/// What an Application Message is published to. It has no wildcard and at least one character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    pub fn new(name: &'a str) -> Result<Self, Error> {
        if name.len() > text::BYTES_MAX {
            return Err(invalid_name("[MQTT-4.7.3-3] a Topic Name is not longer than 65,535 bytes"));
        }
        if name.is_empty() {
            return Err(EMPTY_NAME);
        }
        check_name_bytes(name.as_bytes())?;
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
        if exceeds(self.0, limit) { Err(invalid_name(LEVELS)) } else { Ok(()) }
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

const EMPTY_NAME: Error = invalid_name("[MQTT-4.7.3-1] a Topic Name has at least one character");

/// A Topic Name as it was received, which may be empty: an empty one is for the caller to judge, as 5.0 allows it
/// beside a Topic Alias.
#[inline]
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Result<&str, Error> {
    let name = text::well_formed(bytes)?;
    check_name_bytes(bytes)?;
    Ok(name)
}

#[inline]
fn check_name_bytes(bytes: &[u8]) -> Result<(), Error> {
    // Without an early exit the loop runs over many bytes at a time.
    let mut refused = false;
    for &byte in bytes {
        refused |= byte == 0 || byte == b'#' || byte == b'+';
    }
    if refused { Err(name_error(bytes)) } else { Ok(()) }
}

#[cold]
fn name_error(bytes: &[u8]) -> Error {
    if bytes.contains(&0) {
        text::NUL
    } else {
        invalid_name("[MQTT-3.3.2-2] a Topic Name does not contain wildcard characters")
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
            return Err(invalid_filter("[MQTT-4.7.3-3] a Topic Filter is not longer than 65,535 bytes"));
        }
        if filter.as_bytes().contains(&0) {
            return Err(text::NUL);
        }
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
        if exceeds(filter, limit) { Err(invalid_filter(LEVELS)) } else { Ok(()) }
    }

    /// The first level; `None` if it is a wildcard.
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

    /// See [`matches`].
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
    let mut levels = name.levels();
    for wanted in filter.levels() {
        if wanted == "#" {
            // Here the parent level itself matches too: "sport/#" asks for "sport" as well.
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn check_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Err(invalid_filter("[MQTT-4.7.3-1] a Topic Filter has at least one character"));
    }
    let bytes = filter.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte != b'#' && byte != b'+' {
            continue;
        }
        let opens_level = at == 0 || bytes[at - 1] == b'/';
        if byte == b'#' && !(opens_level && at + 1 == bytes.len()) {
            return Err(invalid_filter("[MQTT-4.7.1-1] # is a level of its own and the last one"));
        }
        if byte == b'+' && !(opens_level && matches!(bytes.get(at + 1), None | Some(b'/'))) {
            return Err(invalid_filter("[MQTT-4.7.1-2] + is a level of its own"));
        }
    }
    Ok(())
}

/// What follows `$share/`.
fn check_shared(shared: &str) -> Result<(), Error> {
    let (share_name, filter) = shared
        .split_once('/')
        .ok_or(invalid_filter("[MQTT-4.8.2-2] a Share Name is followed by / and a Topic Filter"))?;
    if share_name.is_empty() {
        return Err(invalid_filter("[MQTT-4.8.2-1] a Share Name has at least one character"));
    }
    if share_name.contains(['+', '#']) {
        return Err(invalid_filter("[MQTT-4.8.2-2] a Share Name does not contain wildcard characters"));
    }
    if filter.is_empty() {
        return Err(invalid_filter("[MQTT-4.8.2-2] a Share Name is followed by / and a Topic Filter"));
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
