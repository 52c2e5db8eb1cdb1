//! Which Topic Filter takes which Topic Name, written down a second time on purpose: an oracle that asked the broker's own
//! matcher would agree with its mistakes.

/// Section 4.7: `+` takes one level, `#` the rest and its parent; wildcards never take a first level that begins with `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut given) = (Some(filter.as_bytes()), Some(topic.as_bytes()));
    loop {
        let (Some(levels), names) = (wanted, given) else { return given.is_none() };
        let (level, more_levels) = first_level(levels);
        if level == b"#" {
            return true;
        }
        let Some(names) = names else { return false };
        let (name, more_names) = first_level(names);
        if level != b"+" && level != name {
            return false;
        }
        (wanted, given) = (more_levels, more_names);
    }
}

/// The first level, and those behind it if there are any. A day is judged by very many of these.
fn first_level(of: &[u8]) -> (&[u8], Option<&[u8]>) {
    match of.iter().position(|byte| *byte == b'/') {
        Some(at) => (&of[..at], Some(&of[at + 1..])),
        None => (of, None),
    }
}

/// Share Name and Topic Filter of a Shared Subscription [4.8.2].
pub fn shared(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::{matches, shared};

    #[test]
    fn shared_subscription_has_a_name_and_a_filter() {
        assert_eq!(shared("$share/crew/job/#"), Some(("crew", "job/#")));
        assert_eq!(shared("job/#"), None);
    }

    #[test]
    fn wildcards_take_what_the_specification_says() {
        for (filter, topic) in [
            ("sport/#", "sport"),
            ("sport/#", "sport/tennis/1"),
            ("#", "a/b"),
            ("+/tennis/#", "sport/tennis"),
            ("sport/+", "sport/"),
            ("/+", "/finance"),
            ("$SYS/+", "$SYS/up"),
        ] {
            assert!(matches(filter, topic), "{filter} takes {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("sport/+", "sport/a/b"),
            ("+", "/finance"),
            ("#", "$SYS/up"),
            ("+/up", "$SYS/up"),
            ("sport", "sport/"),
            ("a/b/c", "a/b"),
        ] {
            assert!(!matches(filter, topic), "{filter} does not take {topic}");
        }
    }
}
