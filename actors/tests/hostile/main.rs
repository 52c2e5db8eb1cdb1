//! Strangers who send anything at all: a bounded run of what `actors/fuzz` does without end. Each case is a seed; a
//! failure names it, and `CONVOY_FUZZ_SEED` tells that one again. `CONVOY_FUZZ_CASES` makes the run longer.

#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]

mod bench;

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bench::Bench;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn hold(bytes: usize) {
    MOST.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches two integers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one case may hold at its most: the engine keeps everything in memory here.
const BYTES_LIMIT: usize = 64 << 20;

/// The numbers of SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn script(seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    // Every stranger has mostly said a good CONNECT first.
    let mut script: Vec<u8> = (0..4).flat_map(|stranger| [stranger, (numbers.next() % 4) as u8]).collect();
    let length = 64 + numbers.next() % 1024;
    script.extend((0..length).map(|_| numbers.next() as u8));
    script
}

fn tell(seed: u64) {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let told = catch_unwind(AssertUnwindSafe(|| Bench::new().run(&script(seed))));
    if let Err(panic) = told {
        eprintln!("CONVOY_FUZZ_SEED={seed}");
        resume_unwind(panic);
    }
    let most = MOST.load(Relaxed).saturating_sub(before);
    assert!(most < BYTES_LIMIT, "CONVOY_FUZZ_SEED={seed} held {most} bytes");
}

#[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn strangers_harm_nobody_whatever_they_send() {
    if let Some(seed) = number("CONVOY_FUZZ_SEED") {
        return tell(seed);
    }
    // 5,000 are about two seconds.
    (0..number("CONVOY_FUZZ_CASES").unwrap_or(5_000)).for_each(tell);
}

#[test]
fn a_script_that_says_nothing_leaves_the_honest_clients_alone() {
    let mut bench = Bench::new();
    (0..100).for_each(|_| bench.run(&[]));
}
