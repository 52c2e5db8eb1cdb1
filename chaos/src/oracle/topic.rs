//! Which Topic Filter takes which Topic Name, written down a second time on purpose: an oracle that asked the broker's own
//! matcher would agree with its mistakes.

/// Section 4.7: `+` takes one level, `#` the rest and its parent; wildcards never take a first level that begins with `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut wanted = filter.split('/');
    let mut given = topic.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
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
