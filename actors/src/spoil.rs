//! Bytes that are spoiled by a chance which is the same each time, for tests of what reads them.

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub struct Spoiler(u64);

impl Spoiler {
    pub fn new() -> Self {
        Self(1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), 3);
        (self.0 % end as u64) as usize
    }

    /// Changes up to three bytes, or puts them in, or takes them out.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes.insert(at, [0, 1, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff][self.below(8)]),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
    }

    /// Changes a byte of one in ten.
    pub fn spoil_some(&mut self, bytes: &mut [u8]) {
        if self.below(10) == 0 {
            let at = self.below(bytes.len());
            bytes[at] = self.below(256) as u8;
        }
    }
}
