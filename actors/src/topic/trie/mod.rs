//! The routes of one topic partition: which subscribers a Topic Name reaches (MQTT 5.0, 4.7).
//!
//! A tree whose edges are levels of Topic Filters, made for millions of filters under few parents (`cmd/VIN/#`):
//!
//! - A node carries as many levels as no other filter parts, so a filter that shares its tail with nobody costs one
//!   node, and a filter of 65,535 levels costs no more nodes than one of three.
//! - Nodes lie in one arena and name each other by number. The children of all nodes are found in one table, by parent
//!   and first level; only the child of `+` is named by its parent. `#` is no level: it is a second place for routes.
//! - Nothing recurses by depth: a Client chooses how deep a topic is (CVE-2019-11779).
//! - A topic is tried against every node that its first levels lead to. The way to one is known by its length and by the
//!   places of `+` in it, so there are up to 2^n with n levels, whatever almost matches and however much of it. If a
//!   filter with `+` has at most w levels (a last `#` not counted), a topic of t levels is tried against at most
//!   2^(w + 1) - 1 + (t - w) nodes: `wildcard_levels` of the limits is this w. Below w there is one way, the topic's own.
//!   Filters whose `+` stand together may be deeper, for such ways are few: of n levels n(n + 1)/2 have one run of `+`,
//!   and C(n + 1, 4) have two. With 2w levels for those of one run, and w + 1 for two, 11,544 nodes for w = 12 and t = 128.
//! - Clients choose the levels too, so they are hashed under a seed that they do not know. Neither the result nor
//!   its order depends on it.
//!
//! Filters and Topic Names are taken for valid: `wire` has refused those that are not.

use std::hash::Hash;

mod arena;
mod edges;
mod label;
#[cfg(test)]
mod naive;
mod routes;
#[cfg(test)]
mod tests;

use arena::Arena;
use edges::Edges;
use label::Label;
use routes::RouteLists;
use xxhash_rust::xxh3::xxh3_64_with_seed;

#[cfg(test)]
pub use naive::naive;

/// Number of a node, or of a list of routes.
type Id = u32;

const NONE: Id = Id::MAX;
const ROOT: Id = 0;

/// Topic Filters with their subscribers: `K` tells the subscribers of a filter apart, `V` is what is known of each.
#[derive(Debug)]
pub struct Trie<K, V> {
    seed: u64,
    nodes: Arena<Node>,
    /// Head of the list of nodes that are not used; they name the next one as their parent.
    free: Id,
    edges: Edges,
    routes: RouteLists<K, V>,
    len: usize,
    /// Makes all levels hash alike, to test what chance hardly brings.
    #[cfg(test)]
    levels_hash_alike: bool,
}

/// One cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Node {
    /// The levels between the parent and here.
    label: Label,
    parent: Id,
    /// The child whose first level is `+`.
    plus: Id,
    /// Number of children, that of `+` included.
    children: u32,
    /// The numbers of all children, combined by exclusive or: of an only child, its number.
    children_xor: Id,
    /// Routes of the filter that ends here.
    here: Id,
    /// Routes of the filter that goes on with `#`.
    below: Id,
}

const _: () = assert!(size_of::<Node>() == 64);

impl Node {
    fn new(parent: Id, label: Label) -> Self {
        Self { label, parent, plus: NONE, children: 0, children_xor: 0, here: NONE, below: NONE }
    }

    fn has_routes(&self) -> bool {
        self.here != NONE || self.below != NONE
    }

    fn has_literal_children(&self) -> bool {
        self.children > u32::from(self.plus != NONE)
    }
}

/// A Topic Filter as the tree sees it.
#[derive(Clone, Copy)]
struct Path<'a> {
    /// All levels but a last `#`.
    levels: &'a [u8],
    /// Where the first level begins, beyond the end if there is none.
    start: usize,
    /// Whether the filter ends with `#`.
    below: bool,
}

impl<'a> Path<'a> {
    fn of(filter: &'a str) -> Self {
        match filter.strip_suffix('#') {
            Some("") => Self { levels: b"", start: 1, below: true },
            Some(front) if front.ends_with('/') => {
                Self { levels: &front.as_bytes()[..front.len() - 1], start: 0, below: true }
            }
            _ => Self { levels: filter.as_bytes(), start: 0, below: false },
        }
    }
}

impl<K: Eq + Hash + Clone, V> Trie<K, V> {
    /// `seed` keys the hashes: draw it for every process, and tell it to no Client.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: root_alone(),
            free: NONE,
            edges: Edges::default(),
            routes: RouteLists::default(),
            len: 0,
            #[cfg(test)]
            levels_hash_alike: false,
        }
    }

    /// Number of routes: pairs of a filter and a subscriber.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the tree holds, but for what `K` and `V` own elsewhere. Looks at every node to tell.
    #[cfg(test)]
    pub fn bytes_used(&self) -> usize {
        let labels: usize = self.nodes.iter().map(|node| node.label.heap_bytes()).sum();
        self.nodes.bytes_used() + labels + self.edges.bytes_used() + self.routes.bytes_used()
    }

    /// Calls `visit` for every route whose filter matches a Topic Name: once for each filter, so a subscriber with
    /// overlapping Subscriptions is visited several times. Topic Names that begin with `$` are hidden from filters that
    /// begin with a wildcard [MQTT-4.7.2-1]. Returns how many nodes were tried.
    pub fn matches<'a>(&'a self, topic: &str, visit: &mut impl FnMut(&'a K, &'a V)) -> u64 {
        let topic = topic.as_bytes();
        let mut steps = 1;
        // What is still to be tried: at most one branch for each level of the topic.
        let mut branches = Branches::default();
        let mut next = Some((ROOT, 0));
        while let Some((id, at)) = next {
            let node = &self.nodes[id];
            let hidden = id == ROOT && topic.first() == Some(&b'$');
            next = None;
            if !hidden {
                self.routes.visit(node.below, visit);
            }
            if at > topic.len() {
                self.routes.visit(node.here, visit);
            } else if node.children > 0 {
                if node.plus != NONE && !hidden {
                    steps += 1;
                    let plus = &self.nodes[node.plus];
                    next = plus.label.end_in(topic, at).map(|end| (node.plus, end + 1));
                }
                if node.has_literal_children() {
                    let level = level_at(topic, at);
                    let child = self.literal_child(id, level);
                    steps += u64::from(child.is_some());
                    let end = child.and_then(|child| self.nodes[child].label.end_in(topic, at));
                    if let (Some(child), Some(end)) = (child, end) {
                        if let Some(plus) = next {
                            branches.push(plus);
                        }
                        next = Some((child, end + 1));
                    }
                }
            }
            next = next.or_else(|| branches.pop());
        }
        steps
    }

    /// What is known of subscriber `key` of `filter`.
    #[cfg(test)]
    pub fn get(&self, filter: &str, key: &K) -> Option<&V> {
        let path = Path::of(filter);
        let node = &self.nodes[self.find(path)?];
        self.routes.get(if path.below { node.below } else { node.here }, key)
    }

    /// Changes what is known of every subscriber, in any order.
    pub fn change_all(&mut self, change: &mut impl FnMut(&mut V)) {
        self.routes.change_all(change);
    }

    /// As [`Self::get`], to change it in place.
    pub fn get_mut(&mut self, filter: &str, key: &K) -> Option<&mut V> {
        let path = Path::of(filter);
        let node = &self.nodes[self.find(path)?];
        self.routes.get_mut(if path.below { node.below } else { node.here }, key)
    }

    /// Adds subscriber `key` to `filter`, or replaces what was known of it and returns that.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let path = Path::of(filter);
        let id = self.find_or_make(path);
        let node = &mut self.nodes[id];
        let list = if path.below { &mut node.below } else { &mut node.here };
        let replaced = self.routes.insert(list, key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes subscriber `key` from `filter`, and what only this route needed.
    pub fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let path = Path::of(filter);
        let id = self.find(path)?;
        let node = &mut self.nodes[id];
        let list = if path.below { &mut node.below } else { &mut node.here };
        let removed = self.routes.remove(list, key)?;
        self.len -= 1;
        if self.len == 0 {
            // The memory of a partition that is gone goes too.
            self.nodes = root_alone();
            self.free = NONE;
            self.edges = Edges::default();
            self.routes = RouteLists::default();
        } else {
            self.prune(id);
        }
        Some(removed)
    }

    /// All routes with their filters, in no order that means anything.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (String, &K, &V)> {
        (0..).zip(self.nodes.iter()).flat_map(move |(id, node)| {
            let lists = [(node.here, false), (node.below, true)];
            lists.into_iter().filter(|&(list, _)| list != NONE).flat_map(move |(list, below)| {
                let filter = self.filter_of(id, below);
                self.routes.iter(list).map(move |(key, value)| (filter.clone(), key, value))
            })
        })
    }

    /// Visits Topic Filters from node `from` on, in the order of their nodes, which stay where they are as long as the
    /// filter has subscribers: with how many there are, and what is known of `probe`. Ends when `visit` says so or
    /// when `steps` nodes were looked at, and returns where to go on.
    pub fn filters(
        &self,
        from: Id,
        steps: &mut usize,
        probe: &K,
        visit: &mut impl FnMut(&str, usize, Option<&V>) -> bool,
    ) -> Option<Id> {
        let end = self.nodes.len() as Id;
        for id in from..end {
            if *steps == 0 {
                return Some(id);
            }
            *steps -= 1;
            let node = &self.nodes[id];
            let mut goes_on = true;
            for (list, below) in [(node.here, false), (node.below, true)] {
                if list != NONE {
                    let probed = self.routes.get(list, probe);
                    goes_on &= visit(&self.filter_of(id, below), self.routes.len_of(list), probed);
                }
            }
            if !goes_on && id + 1 < end {
                return Some(id + 1);
            }
        }
        None
    }

    fn filter_of(&self, id: Id, below: bool) -> String {
        let mut labels: Vec<&[u8]> = if below { vec![b"#"] } else { Vec::new() };
        let mut at = id;
        while at != ROOT {
            let node = &self.nodes[at];
            labels.push(node.label.levels());
            at = node.parent;
        }
        labels.reverse();
        String::from_utf8(labels.join(&b'/')).expect("a filter is text and is cut at its separators only")
    }

    /// The node at which a filter's levels end.
    fn find(&self, path: Path<'_>) -> Option<Id> {
        let (mut id, mut at) = (ROOT, path.start);
        while at <= path.levels.len() {
            let child = self.child(id, level_at(path.levels, at))?;
            let label = self.nodes[child].label.levels();
            if label::common(label, &path.levels[at..]) != Some(label.len()) {
                return None;
            }
            (id, at) = (child, at + label.len() + 1);
        }
        Some(id)
    }

    fn find_or_make(&mut self, path: Path<'_>) -> Id {
        let (mut id, mut at) = (ROOT, path.start);
        while at <= path.levels.len() {
            let rest = &path.levels[at..];
            let Some(child) = self.child(id, level_at(rest, 0)) else {
                let leaf = self.allocate(Node::new(id, Label::new(rest)));
                self.link(leaf);
                return leaf;
            };
            let label = self.nodes[child].label.levels();
            let common = label::common(label, rest).expect("a child is found by its first level");
            id = if common == label.len() { child } else { self.split(child, common) };
            at += common + 1;
        }
        id
    }

    /// Puts a node between `lower` and its parent that takes the first `at` bytes of its label, and returns it.
    fn split(&mut self, lower: Id, at: usize) -> Id {
        self.unlink(lower);
        let node = &mut self.nodes[lower];
        let parent = node.parent;
        let (front, back) = (&node.label.levels()[..at], &node.label.levels()[at + 1..]);
        let (front, back) = (Label::new(front), Label::new(back));
        node.label = back;
        let upper = self.allocate(Node::new(parent, front));
        self.link(upper);
        self.nodes[lower].parent = upper;
        self.link(lower);
        upper
    }

    /// Frees `id` and what is above it as far as no filter needs it, and joins what no filter parts any longer.
    fn prune(&mut self, mut id: Id) {
        while id != ROOT && !self.nodes[id].has_routes() {
            let node = &self.nodes[id];
            let parent = node.parent;
            match node.children {
                0 => {
                    self.unlink(id);
                    self.release(id);
                    id = parent;
                }
                1 => {
                    let child = node.children_xor;
                    self.unlink(child);
                    self.unlink(id);
                    let front = self.nodes[id].label.levels();
                    let child_node = &self.nodes[child];
                    let label = Label::new(&[front, child_node.label.levels()].join(&b'/'));
                    let child_node = &mut self.nodes[child];
                    (child_node.label, child_node.parent) = (label, parent);
                    self.link(child);
                    self.release(id);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Makes a node's parent know it.
    fn link(&mut self, id: Id) {
        let (parent, level) = self.place_of(id);
        if level == b"+" {
            self.nodes[parent].plus = id;
        } else {
            let hash = self.edge_hash(parent, level);
            self.edges.insert(hash, id);
        }
        let parent = &mut self.nodes[parent];
        parent.children += 1;
        parent.children_xor ^= id;
    }

    /// The opposite of [`Self::link`].
    fn unlink(&mut self, id: Id) {
        let (parent, level) = self.place_of(id);
        if level == b"+" {
            self.nodes[parent].plus = NONE;
        } else {
            let hash = self.edge_hash(parent, level);
            self.edges.remove(hash, id);
        }
        let parent = &mut self.nodes[parent];
        parent.children -= 1;
        parent.children_xor ^= id;
    }

    /// Under which parent and first level a node is found.
    fn place_of(&self, id: Id) -> (Id, &[u8]) {
        let node = &self.nodes[id];
        (node.parent, level_at(node.label.levels(), 0))
    }

    fn child(&self, parent: Id, level: &[u8]) -> Option<Id> {
        if level == b"+" {
            let plus = self.nodes[parent].plus;
            (plus != NONE).then_some(plus)
        } else {
            self.literal_child(parent, level)
        }
    }

    #[inline]
    fn literal_child(&self, parent: Id, level: &[u8]) -> Option<Id> {
        self.edges.find(self.edge_hash(parent, level), |id| {
            let node = &self.nodes[id];
            node.parent == parent && node.label.begins_with(level)
        })
    }

    // In a loop the compiler would work out all that XXH3 may do with the seed beforehand: more than most topics need.
    #[inline(never)]
    fn edge_hash(&self, parent: Id, level: &[u8]) -> u32 {
        #[cfg(test)]
        if self.levels_hash_alike {
            return 7;
        }
        // The seed is mixed with the level first: who knows the parent's number still knows nothing of the product.
        let hash =
            xxh3_64_with_seed(level, self.seed) ^ u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32
    }

    fn allocate(&mut self, node: Node) -> Id {
        if self.free != NONE {
            let id = self.free;
            let place = &mut self.nodes[id];
            self.free = place.parent;
            *place = node;
            return id;
        }
        self.nodes.push(node)
    }

    fn release(&mut self, id: Id) {
        self.nodes[id] = Node::new(self.free, Label::new(b""));
        self.free = id;
    }
}

fn root_alone() -> Arena<Node> {
    let mut nodes = Arena::default();
    nodes.push(Node::new(NONE, Label::new(b"")));
    nodes
}

/// The level that begins at `at`.
#[inline]
fn level_at(levels: &[u8], at: usize) -> &[u8] {
    let rest = &levels[at..];
    match rest.iter().position(|&byte| byte == b'/') {
        Some(end) => &rest[..end],
        None => rest,
    }
}

/// A stack of nodes with the place in the topic from which they go on. Most topics need none; the first ones need no
/// allocation.
#[derive(Default)]
struct Branches {
    first: Option<[(Id, usize); Self::FIRST]>,
    len: usize,
    more: Vec<(Id, usize)>,
}

impl Branches {
    const FIRST: usize = 16;

    #[inline]
    fn push(&mut self, branch: (Id, usize)) {
        if self.len < Self::FIRST {
            self.first.get_or_insert([(NONE, 0); Self::FIRST])[self.len] = branch;
            self.len += 1;
        } else {
            self.more.push(branch);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Id, usize)> {
        if self.len == Self::FIRST && !self.more.is_empty() {
            return self.more.pop();
        }
        self.len = self.len.checked_sub(1)?;
        self.first.as_ref().map(|first| first[self.len])
    }
}
