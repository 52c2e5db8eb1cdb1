//! The bytes between simulated Clients and the node: each connection a pipe each way, of limited room, from which bytes
//! come out in pieces of any size.

use std::collections::VecDeque;
use std::io::IoSlice;

use convoy_actors::Output;

use super::seed::Stream;

/// Bytes that one direction holds before its writer has to wait, as a socket's buffers would.
const ROOM: usize = 4096;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    /// Nothing more will be written.
    pub ended: bool,
    /// A piece is on its way: the agenda has its arrival.
    pub flowing: bool,
}

impl Pipe {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A Client's bytes: Clients of the simulation keep few under way, and wait for nothing.
    pub fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// As much of `output` as there is room for.
    pub fn write_output(&mut self, output: &mut Output) {
        while !output.is_empty() && self.bytes.len() < ROOM {
            let room = ROOM - self.bytes.len();
            let mut slices = [IoSlice::new(&[]); 16];
            let used = output.slices(&mut slices, usize::MAX);
            let before = self.bytes.len();
            for slice in &slices[..used] {
                let left = room - (self.bytes.len() - before);
                self.bytes.extend(&slice[..slice.len().min(left)]);
            }
            let written = self.bytes.len() - before;
            output.advance(written);
        }
    }

    /// What arrives now: from one byte to all that there is.
    pub fn read(&mut self, chance: &mut Stream) -> Vec<u8> {
        let some = match chance.below(4) {
            0 => 1 + chance.below(8) as usize,
            1 => 1 + chance.below(self.bytes.len().max(1) as u64) as usize,
            _ => self.bytes.len(),
        };
        self.bytes.drain(..some.min(self.bytes.len())).collect()
    }

    /// The connection broke: what was on its way is lost.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seed::Seed;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut chance = Seed(3).stream("net");
        let (mut pipe, mut read) = (Pipe::default(), Vec::new());
        let written: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        for piece in written.chunks(77) {
            pipe.write(piece);
            read.extend(pipe.read(&mut chance));
        }
        while !pipe.is_empty() {
            read.extend(pipe.read(&mut chance));
        }
        assert_eq!(read, written);
    }
}
