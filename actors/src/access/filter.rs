//! Topic Filters of rules: which Topic Names they match (MQTT 5.0, 4.7), and which Topic Filters they cover.

/// Whether a Topic Filter matches a Topic Name. It allocates nothing and ends with the first byte that differs.
pub fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.as_bytes(), topic.as_bytes());
    if topic.first() == Some(&b'$') && starts_with_wildcard(filter) {
        // [MQTT-4.7.2-1]
        return false;
    }
    let (mut at, mut here) = (0, 0);
    loop {
        match filter.get(at) {
            None => return here == topic.len(),
            Some(b'#') => return true,
            Some(b'+') => {
                here += topic[here..].iter().take_while(|byte| **byte != b'/').count();
            }
            Some(wanted) => match topic.get(here) {
                Some(byte) if byte == wanted => here += 1,
                // `a/#` matches `a` too.
                None => return &filter[at..] == b"/#",
                Some(_) => return false,
            },
        }
        at += 1;
    }
}

/// Whether every Topic Name that `asked` matches is matched by `filter`.
pub fn covers(filter: &str, asked: &str) -> bool {
    if asked.starts_with('$') && starts_with_wildcard(filter.as_bytes()) {
        return false;
    }
    // The only Topic Filters that are wider than they look: every Topic Name has a first level, and it is not empty if
    // it is the only one.
    let filter = match filter {
        "+/#" => "#",
        "/+/#" => "/#",
        filter => filter,
    };
    // The same the other way round: the name without a level that `/#` would match too is none.
    let asked = if asked == "/#" { "/+/#" } else { asked };
    let (mut levels, mut asked) = (filter.split('/'), asked.split('/'));
    loop {
        match (levels.next(), asked.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(mine), Some(level)) if mine == level => {}
            _ => return false,
        }
    }
}

fn starts_with_wildcard(filter: &[u8]) -> bool {
    matches!(filter.first(), Some(b'+' | b'#'))
}
