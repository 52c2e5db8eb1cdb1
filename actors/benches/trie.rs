//! What routing costs: `cargo bench -p convoy-actors --bench trie`. Prints the time of one match and the bytes of one
//! route for the shapes of filter that fleets use. The targets: 1 µs among 100,000 wildcard filters of four levels,
//! 100 ns for an exact one, 250 bytes a route.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]

#[allow(dead_code, unused_imports, reason = "not all of it is measured, and its tests are the crate's")]
#[path = "../src/topic/trie/mod.rs"]
mod trie;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trie::Trie;

/// What a partition knows of a Subscription is about as large.
type Value = [u64; 4];

const ROUNDS: usize = 7;

struct Counting;

static BYTES_USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting touches an atomic integer only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES_USED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES_USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A tree, with the number of its routes and the bytes of memory that it holds.
struct Filled {
    trie: Trie<u64, Value>,
    routes: usize,
    bytes: usize,
}

fn main() {
    exact(1, "exact, one filter");
    exact(100_000, "exact, 100,000 filters");
    vehicles(100_000);
    vehicles(2_000_000);
    wildcards(100_000);
    almost(12);
    subscribers(100_000);
    churn(100_000);
    growth(2_000_000);
}

fn exact(filters: u64, name: &str) {
    let topics: Vec<_> = (0..filters).map(|at| format!("a/{}/{}/d", at % 300, at / 300)).collect();
    report(name, &filled(topics.iter().cloned()), &topics);
}

fn vehicles(count: u64) {
    let filled = filled((0..count).map(|vin| format!("cmd/WVWZZZ1JZXW{vin:06}/#")));
    let topics: Vec<_> = (0..count).map(|vin| format!("cmd/WVWZZZ1JZXW{vin:06}/doors/lock")).collect();
    report(&format!("cmd/VIN/#, {count} vehicles"), &filled, &topics);
}

/// Filters of four levels with a wildcard each. Every topic matches one of them, many match several.
fn wildcards(count: u64) {
    let filter = |at: u64| {
        let [a, b, c] = [at % 10, at / 10 % 100, at / 1000 % 100];
        match at % 4 {
            0 => format!("p{a}/q{b}/r{c}/+"),
            1 => format!("p{a}/+/r{b}/s{c}"),
            2 => format!("p{a}/q{b}x{c}/#"),
            _ => format!("p{a}/q{b}/+/s{c}"),
        }
    };
    let filled = filled((0..count).map(filter));
    let topic = |at: u64| {
        let filter = filter(at % count).replace("/+/r", "/q3/r").replace("/+/s", "/r3/s");
        filter.replace('+', "s3").replace('#', "r3/s3")
    };
    let topics: Vec<_> = (0..count).map(|at| topic(mixed(at))).collect();
    report("four levels with wildcards", &filled, &topics);
}

/// Every filter of so many levels that is tried and does not match: the worst that limits let through.
fn almost(levels: usize) {
    let filter = |mask: usize| {
        let level = |bit| if mask >> bit & 1 == 0 { "a" } else { "+" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    let filled = filled((0..1 << levels).map(filter));
    report(&format!("almost matching, {levels} levels"), &filled, &[vec!["a"; levels + 1].join("/")]);
}

/// One filter with many subscribers.
fn subscribers(count: u64) {
    let filled = filled((0..count).map(|_| "broadcast/all".to_string()));
    report(&format!("broadcast, {count} subscribers"), &filled, &["broadcast/all".to_string()]);
}

/// Subscribing and leaving, as a fleet does that reconnects.
fn churn(count: u64) {
    let filters: Vec<_> = (0..count).map(|vin| format!("cmd/WVWZZZ1JZXW{vin:06}/#")).collect();
    let mut trie = filled(filters.iter().cloned()).trie;
    let start = Instant::now();
    for (key, filter) in (0..).zip(&filters) {
        let value = trie.remove(filter, &key).expect("it was inserted");
        trie.insert(filter, key, value);
    }
    let each = start.elapsed().as_nanos() / u128::from(count);
    println!("{:<32} {each:>7} ns a pair", "leave and subscribe");
}

/// The longest of all inserts: the one for which an arena or the table has to grow.
fn growth(count: u64) {
    let mut trie = Trie::new(7);
    let mut longest = Duration::ZERO;
    for vin in 0..count {
        let filter = format!("cmd/WVWZZZ1JZXW{vin:06}/#");
        let start = Instant::now();
        trie.insert(&filter, vin, [vin; 4]);
        longest = longest.max(start.elapsed());
    }
    println!("{:<32} {:>7} us", format!("longest of {count} inserts"), longest.as_micros());
}

fn filled(filters: impl Iterator<Item = String>) -> Filled {
    let before = BYTES_USED.load(Ordering::Relaxed);
    let mut trie = Trie::new(7);
    let mut routes = 0;
    for (key, filter) in (0..).zip(filters) {
        trie.insert(&filter, key, [key; 4]);
        routes += 1;
    }
    Filled { trie, routes, bytes: BYTES_USED.load(Ordering::Relaxed) - before }
}

/// The best of several rounds over the topics, in an order that makes the trie's memory cold. Those of a PUBLISH are
/// warm, having just been read, so they lie here in the order in which they are asked.
fn report(name: &str, filled: &Filled, topics: &[String]) {
    let count = topics.len().max(1000);
    let order: Vec<_> =
        (0..count).map(|at| topics[mixed(at as u64) as usize % topics.len()].clone()).collect();
    let mut best = f64::INFINITY;
    let mut found = 0_u64;
    for _ in 0..ROUNDS {
        found = 0;
        let start = Instant::now();
        for topic in &order {
            filled.trie.matches(black_box(topic), &mut |key, _| {
                black_box(key);
                found += 1;
            });
        }
        best = best.min(start.elapsed().as_nanos() as f64 / order.len() as f64);
    }
    let matches = found as f64 / order.len() as f64;
    let bytes = filled.bytes / filled.routes;
    println!("{name:<32} {best:>7.0} ns a topic   {matches:>8.1} matches   {bytes:>4} bytes a route");
}

/// A number that looks drawn.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (number ^ (number >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d) >> 20
}
