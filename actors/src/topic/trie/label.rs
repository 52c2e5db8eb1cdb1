//! The levels that a node carries, inside of it while they are short: a lookup then meets no further cache line.

/// One or more levels, joined by `/`. None at all for the root.
#[derive(Debug)]
pub(super) enum Label {
    Short { len: u8, wild: bool, bytes: [u8; SHORT] },
    Long { wild: bool, bytes: Box<[u8]> },
}

const SHORT: usize = 37;

const _: () = assert!(size_of::<Label>() == 40);

impl Label {
    pub(super) fn new(levels: &[u8]) -> Self {
        let wild = levels.split(|&byte| byte == b'/').any(|level| level == b"+");
        if levels.len() <= SHORT {
            let mut bytes = [0; SHORT];
            bytes[..levels.len()].copy_from_slice(levels);
            Self::Short { len: levels.len() as u8, wild, bytes }
        } else {
            Self::Long { wild, bytes: levels.into() }
        }
    }

    #[inline]
    pub(super) fn levels(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes, .. } => &bytes[..usize::from(*len)],
            Self::Long { bytes, .. } => bytes,
        }
    }

    #[inline]
    fn is_wild(&self) -> bool {
        match self {
            Self::Short { wild, .. } | Self::Long { wild, .. } => *wild,
        }
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long { bytes, .. } => bytes.len(),
        }
    }

    /// Whether the first level is `level`.
    #[inline]
    pub(super) fn begins_with(&self, level: &[u8]) -> bool {
        let levels = self.levels();
        levels.starts_with(level) && matches!(levels.get(level.len()), None | Some(b'/'))
    }

    /// Where the topic's levels end that these match, if they match those from `at` on.
    #[inline]
    pub(super) fn end_in(&self, topic: &[u8], at: usize) -> Option<usize> {
        if self.is_wild() { self.end_of_wild_in(topic, at) } else { self.end_of_literal_in(topic, at) }
    }

    fn end_of_literal_in(&self, topic: &[u8], at: usize) -> Option<usize> {
        let levels = self.levels();
        let end = at + levels.len();
        (topic[at..].starts_with(levels) && matches!(topic.get(end), None | Some(b'/'))).then_some(end)
    }

    fn end_of_wild_in(&self, topic: &[u8], at: usize) -> Option<usize> {
        let mut names = topic[at..].split(|&byte| byte == b'/');
        let mut end = at;
        for level in self.levels().split(|&byte| byte == b'/') {
            let name = names.next()?;
            if level != b"+" && level != name {
                return None;
            }
            end += name.len() + 1;
        }
        Some(end - 1)
    }
}

/// Bytes of the whole levels that `a` and `b` both begin with, `None` if their first levels differ.
pub(super) fn common(a: &[u8], b: &[u8]) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends = |text: &[u8]| matches!(text.get(same), None | Some(b'/'));
    if ends(a) && ends(b) {
        return Some(same);
    }
    a[..same].iter().rposition(|&byte| byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_levels_are_common() {
        assert_eq!(common(b"a/b/c", b"a/b/d"), Some(3));
        assert_eq!(common(b"a/b/c", b"a/b/cc"), Some(3));
        assert_eq!(common(b"a/b", b"a/b"), Some(3));
        assert_eq!(common(b"a/b", b"a/b/"), Some(3));
        assert_eq!(common(b"a", b"ab"), None);
        assert_eq!(common(b"a", b"b"), None);
        assert_eq!(common(b"", b""), Some(0));
        assert_eq!(common(b"", b"/a"), Some(0));
        assert_eq!(common(b"", b"a"), None);
    }

    #[test]
    fn long_labels_match_as_short_ones_do() {
        for levels in ["a/bb/+/d".to_string(), format!("a/bb/+/d{}", "/x".repeat(40))] {
            let label = Label::new(levels.as_bytes());
            let topic = levels.replace('+', "word");
            let end = label.end_in(format!("0/{topic}/tail").as_bytes(), 2);
            assert_eq!(end, Some(2 + topic.len()));
            assert_eq!(label.end_in(topic.as_bytes(), 0), Some(topic.len()));
            assert_eq!(label.end_in(format!("{topic}y").as_bytes(), 0), None);
            assert_eq!(label.end_in(&topic.as_bytes()[..topic.len() - 2], 0), None);
            assert!(label.begins_with(b"a"));
            assert!(!label.begins_with(b"a/b"));
        }
    }
}
