//! Where the head of a request ends: with an empty line (RFC 9112, 2.1). Empty lines before it are none of it.

/// Looks through a head as it comes.
#[derive(Default)]
pub struct HeadEnd {
    has_begun: bool,
    line_has_begun: bool,
}

impl HeadEnd {
    /// The length of what belongs to the head, if its end is in these bytes; those before them were none.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\r' => {}
                b'\n' if self.has_begun && !self.line_has_begun => return Some(at + 1),
                b'\n' => self.line_has_begun = false,
                _ => (self.has_begun, self.line_has_begun) = (true, true),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_it_does_however_it_is_cut() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", "\r\n"),
            ("GET / HTTP/1.1\n\n", "body\n\n"),
        ] {
            let bytes = [head, rest].concat();
            for cut in 0..head.len() {
                let mut end = HeadEnd::default();
                assert_eq!(end.find(&bytes.as_bytes()[..cut]), None, "{cut} of {bytes:?}");
                let found = end.find(&bytes.as_bytes()[cut..]);
                assert_eq!(found, Some(head.len() - cut), "{cut} of {bytes:?}");
            }
        }
    }
}
