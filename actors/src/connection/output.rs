//! Bytes on their way to one Client. Small packets are gathered in one buffer; large properties and payloads are shared by
//! all their receivers and never copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What is of this size or larger is shared and not copied.
pub const SHARED_FROM: usize = 4096;

#[derive(Debug, Default)]
pub struct Output {
    /// Goes before `tail`.
    pieces: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes in `pieces`.
    piece_bytes: usize,
    /// Bytes that were appended of messages, each of which has its own bound. The rest are answers.
    message_bytes: usize,
    /// Bytes of the tail that are written already; zero while there are pieces.
    written: usize,
}

impl Output {
    pub fn len(&self) -> usize {
        self.piece_bytes + self.tail.len() - self.written
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of answers, as long as nothing of it is written.
    pub fn answer_bytes(&self) -> usize {
        self.len().saturating_sub(self.message_bytes)
    }

    /// So many of the bytes that were appended are a message.
    pub fn note_message(&mut self, bytes: usize) {
        self.message_bytes += bytes;
    }

    /// Where small packets are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends bytes that others share.
    pub fn share(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            // While there are no pieces, what is written already is the tail's.
            let written = std::mem::take(&mut self.written);
            let own = if self.tail.len() < SHARED_FROM {
                // The head of a packet, mostly, in a buffer with room for many: it is not to hold all of that.
                let own = Bytes::copy_from_slice(&self.tail[written..]);
                self.tail.clear();
                own
            } else {
                Bytes::from(std::mem::take(&mut self.tail)).split_off(written)
            };
            self.piece_bytes += own.len();
            self.pieces.push_back(own);
        }
        self.piece_bytes += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// The next bytes to be written, in order, up to `limit` of them.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>; 16], limit: usize) -> usize {
        let (mut used, mut left) = (0, limit);
        let parts = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        for part in parts.filter(|part| !part.is_empty()).take(into.len()) {
            let part = if used == 0 { &part[self.written.min(part.len())..] } else { part };
            into[used] = IoSlice::new(&part[..part.len().min(left)]);
            left -= into[used].len();
            used += 1;
            if left == 0 {
                break;
            }
        }
        used
    }

    /// So many bytes were written.
    pub fn advance(&mut self, mut bytes: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if bytes < piece.len() {
                piece.advance(bytes);
                self.piece_bytes -= bytes;
                return;
            }
            bytes -= piece.len();
            self.piece_bytes -= piece.len();
            self.pieces.pop_front();
        }
        self.written += bytes;
        debug_assert!(self.written <= self.tail.len());
        if self.written == self.tail.len() {
            self.tail.clear();
            self.written = 0;
        }
    }

    /// Memory that this output holds, but for pieces that were seen in others.
    #[cfg(test)]
    pub fn held_bytes(&self, seen: &mut std::collections::BTreeSet<usize>) -> usize {
        let pieces = self.pieces.iter().filter(|piece| seen.insert(piece.as_ptr() as usize));
        self.tail.capacity() + pieces.map(Bytes::len).sum::<usize>()
    }

    /// The buffer of an empty output, to be used again elsewhere.
    pub fn into_buffer(self) -> Vec<u8> {
        debug_assert!(self.is_empty());
        self.tail
    }

    pub fn with_buffer(tail: Vec<u8>) -> Self {
        debug_assert!(tail.is_empty());
        Self { tail, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let used = output.slices(&mut slices, usize::MAX);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_however_they_are_written() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"one");
        output.share(Bytes::from_static(b"two"));
        output.tail().extend_from_slice(b"three");
        let (mut all, mut left) = (Vec::new(), output.len());
        while !output.is_empty() {
            all.push(read(&output)[0]);
            output.advance(1);
            left -= 1;
            assert_eq!(output.len(), left);
        }
        assert_eq!(all, b"onetwothree");
    }

    #[test]
    fn shared_bytes_may_follow_what_is_half_written() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"abcd");
        output.advance(3);
        output.share(Bytes::from_static(b"efg"));
        assert_eq!((output.len(), read(&output)), (4, b"defg".to_vec()));
        output.advance(2);
        assert_eq!((output.len(), read(&output)), (2, b"fg".to_vec()));
        output.advance(2);
        assert!(output.is_empty());
    }

    #[test]
    fn no_more_is_given_out_than_is_asked_for() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"abcd");
        output.advance(1);
        output.share(Bytes::from_static(b"efghi"));
        let lengths = |limit| {
            let mut slices = [IoSlice::new(&[]); 16];
            let used = output.slices(&mut slices, limit);
            slices[..used].iter().map(|slice| slice.len()).collect::<Vec<_>>()
        };
        assert_eq!(
            [lengths(2), lengths(3), lengths(5), lengths(9)],
            [vec![2], vec![3], vec![3, 2], vec![3, 5]]
        );
    }

    #[test]
    fn answers_are_told_from_messages() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"answer");
        output.tail().extend_from_slice(b"head");
        output.share(Bytes::from_static(b"body"));
        output.note_message(8);
        assert_eq!((output.len(), output.answer_bytes()), (14, 6));
    }

    #[test]
    fn a_write_may_end_within_any_part() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"abcd");
        output.advance(3);
        output.tail().extend_from_slice(b"efg");
        assert_eq!(read(&output), b"defg");
        output.advance(4);
        assert!(output.is_empty() && output.tail().is_empty());
    }
}
