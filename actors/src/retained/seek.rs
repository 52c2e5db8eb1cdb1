//! What a Topic Filter makes of a topic met in the order of keys: it matches, or names the next one that may.
//!
//! A filter like `+/doors/open` over a million vehicles then touches a key or two of each, however many topics each has.

use std::cmp::Ordering;

use super::key::{BELOW_END, SEPARATOR, push_levels};

/// What is to be done about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Match,
    /// Nothing matches before what has been written to `next`, which sorts behind the topic.
    Seek,
    /// Nothing matches from here on.
    End,
}

/// Compares `topic`, as it stands in a key, with a filter.
pub(super) fn judge(topic: &[u8], filter: &str, next: &mut Vec<u8>) -> Verdict {
    next.clear();
    if topic.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        // Hidden [MQTT-4.7.2-1]. The character behind `$` begins what follows all of them.
        next.push(b'$' + 1);
        return Verdict::Seek;
    }
    // Where the next level begins, beyond the end if there is none.
    let mut at = 0;
    // Where the level ends that the last `+` matched: the deepest place to go on from.
    let mut plus_end = None;
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        if level == "#" {
            return Verdict::Match;
        }
        if at > topic.len() {
            // The topic is above those that may match.
            next.extend_from_slice(topic);
            push_literals(next, true, [level].into_iter().chain(levels));
            return Verdict::Seek;
        }
        let rest = &topic[at..];
        let name = &rest[..rest.iter().position(|&byte| byte == SEPARATOR).unwrap_or(rest.len())];
        let end = at + name.len();
        if level == "+" {
            plus_end = Some(end);
        } else {
            match name.cmp(level.as_bytes()) {
                Ordering::Equal => {}
                Ordering::Less => {
                    next.extend_from_slice(&topic[..at]);
                    push_literals(next, false, [level].into_iter().chain(levels));
                    return Verdict::Seek;
                }
                Ordering::Greater => return behind(topic, plus_end, next),
            }
        }
        at = end + 1;
    }
    if at > topic.len() { Verdict::Match } else { behind(topic, plus_end, next) }
}

/// The levels before a filter's first wildcard: what matches lies at and below them. `None` if the first level is one.
pub(super) fn literal_front(filter: &str) -> Option<&str> {
    match filter.find(['+', '#']) {
        Some(0) => None,
        Some(wildcard) => Some(&filter[..wildcard - 1]),
        None => Some(filter),
    }
}

/// Leaves everything below the level that ends at `end`.
fn behind(topic: &[u8], end: Option<usize>, next: &mut Vec<u8>) -> Verdict {
    let Some(end) = end else {
        return Verdict::End;
    };
    next.extend_from_slice(&topic[..end]);
    next.push(BELOW_END);
    Verdict::Seek
}

/// Appends levels up to the first wildcard. `inside` tells that a level stands before them.
fn push_literals<'a>(next: &mut Vec<u8>, mut inside: bool, levels: impl Iterator<Item = &'a str>) {
    for level in levels {
        let wild = level == "+" || level == "#";
        if inside && level != "#" {
            next.push(SEPARATOR);
        }
        if wild {
            return;
        }
        push_levels(next, level);
        inside = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(topic: &str, filter: &str) -> (Verdict, String) {
        let mut next = Vec::new();
        let topic: Vec<_> = topic.bytes().map(|byte| if byte == b'/' { SEPARATOR } else { byte }).collect();
        let verdict = judge(&topic, filter, &mut next);
        assert!(verdict != Verdict::Seek || next > topic, "{filter} does not get behind {topic:?}");
        (verdict, String::from_utf8(next).unwrap().replace('\0', "/").replace('\x01', "|"))
    }

    fn seek(next: &str) -> (Verdict, String) {
        (Verdict::Seek, next.to_string())
    }

    #[test]
    fn topics_that_match_are_told() {
        for (topic, filter) in
            [("a/b", "a/b"), ("a/b", "a/+"), ("a", "a/#"), ("a/b", "#"), ("/", "+/+"), ("a/", "a/+")]
        {
            assert_eq!(judged(topic, filter).0, Verdict::Match, "{filter}");
        }
    }

    #[test]
    fn a_lesser_level_seeks_the_filters_own() {
        assert_eq!(judged("a/b/x", "a/+/y/z/+"), seek("a/b/y/z/"));
        assert_eq!(judged("a/b/x", "a/+/y/z/#"), seek("a/b/y/z"));
        assert_eq!(judged("a/b/x", "a/+/y"), seek("a/b/y"));
    }

    #[test]
    fn a_greater_level_seeks_the_next_name_under_the_last_plus() {
        assert_eq!(judged("a/b/x", "a/+/w"), seek("a/b|"));
        assert_eq!(judged("a/b/x/c", "+/+/w/#"), seek("a/b|"));
        assert_eq!(judged("b/c", "a/+").0, Verdict::End);
    }

    #[test]
    fn a_topic_with_too_many_levels_is_left_at_the_last_plus() {
        assert_eq!(judged("a/b/c/d", "a/+"), seek("a/b|"));
        assert_eq!(judged("a/b/c/d", "a/+/c"), seek("a/b|"));
        assert_eq!(judged("a/b/c", "a/b").0, Verdict::End);
    }

    #[test]
    fn a_topic_with_too_few_levels_is_entered() {
        assert_eq!(judged("a/b", "a/+/c/d"), seek("a/b/c/d"));
        assert_eq!(judged("a/b", "a/+/+"), seek("a/b/"));
        assert_eq!(judged("a/b", "a/+/c/#"), seek("a/b/c"));
    }

    #[test]
    fn dollar_topics_are_passed_over_at_once() {
        assert_eq!(judged("$SYS/a", "#"), seek("%"));
        assert_eq!(judged("$SYS/a", "+/a"), seek("%"));
        assert_eq!(judged("$SYS/a", "$SYS/#").0, Verdict::Match);
    }

    #[test]
    fn the_front_of_a_filter_ends_before_its_first_wildcard() {
        for (filter, front) in
            [("a/b/+/c", "a/b"), ("a/#", "a"), ("a/b", "a/b"), ("/+", ""), ("a//#", "a/"), ("//+", "/")]
        {
            assert_eq!(literal_front(filter), Some(front), "{filter}");
        }
        assert_eq!(literal_front("#"), None);
        assert_eq!(literal_front("+/a"), None);
    }
}
