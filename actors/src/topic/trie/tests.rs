use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 0x5eed;

fn trie(filters: &[&str]) -> Trie<u64, &'static str> {
    let mut trie = Trie::new(SEED);
    for (key, filter) in (0..).zip(filters) {
        assert_eq!(trie.insert(filter, key, "value"), None);
        trie.check();
    }
    trie
}

/// Keys of the routes that match, in their order.
fn keys<V>(trie: &Trie<u64, V>, topic: &str) -> Vec<u64> {
    let mut keys = Vec::new();
    trie.matches(topic, &mut |key, _| keys.push(*key));
    keys.sort_unstable();
    keys
}

impl<K: Eq + Hash + Clone, V> Trie<K, V> {
    /// Panics unless the tree is as its rules say and holds nothing that no route needs.
    fn check(&self) {
        let mut free = 0;
        let mut at = self.free;
        while at != NONE {
            free += 1;
            at = self.nodes[at].parent;
        }
        let used: Vec<Id> =
            (1..self.nodes.len() as Id).filter(|&id| !self.nodes[id].label_is_free(self, id)).collect();
        assert_eq!(used.len() + free + 1, self.nodes.len(), "every node is used or free");
        let mut literal = 0;
        for id in [ROOT].into_iter().chain(used.iter().copied()) {
            let node = &self.nodes[id];
            let children: Vec<Id> =
                used.iter().copied().filter(|&child| self.nodes[child].parent == id).collect();
            assert_eq!(children.len(), node.children as usize);
            assert_eq!(children.iter().fold(0, |xor, child| xor ^ child), node.children_xor);
            for &child in &children {
                let (_, level) = self.place_of(child);
                assert_eq!(self.child(id, level), Some(child));
                literal += usize::from(level != b"+");
            }
            assert!(id == ROOT || node.has_routes() || children.len() > 1, "a node that no filter needs");
        }
        assert_eq!(literal, self.edges.len());
        assert_eq!(self.iter().count(), self.len());
    }
}

impl Node {
    fn label_is_free<K, V>(&self, trie: &Trie<K, V>, id: Id) -> bool {
        let mut at = trie.free;
        while at != NONE {
            if at == id {
                return true;
            }
            at = trie.nodes[at].parent;
        }
        false
    }
}

#[test]
fn examples_of_the_specification_match() {
    let filters = [
        "sport/tennis/player1/#",
        "sport/#",
        "sport/tennis/+",
        "sport/+",
        "+",
        "+/+",
        "/+",
        "#",
        "+/tennis/#",
    ];
    let trie = trie(&filters);
    assert_eq!(keys(&trie, "sport/tennis/player1"), [0, 1, 2, 7, 8]);
    assert_eq!(keys(&trie, "sport/tennis/player1/score/wimbledon"), [0, 1, 7, 8]);
    assert_eq!(keys(&trie, "sport"), [1, 4, 7]);
    assert_eq!(keys(&trie, "sport/"), [1, 3, 5, 7]);
    assert_eq!(keys(&trie, "/finance"), [5, 6, 7]);
    assert_eq!(keys(&trie, "/"), [5, 6, 7]);
}

#[test]
fn dollar_topics_are_hidden_from_leading_wildcards() {
    let trie = trie(&["#", "+/monitor/Clients", "$SYS/#", "$SYS/monitor/+", "+", "$SYS"]);
    assert_eq!(keys(&trie, "$SYS/monitor/Clients"), [2, 3]);
    assert_eq!(keys(&trie, "$SYS"), [2, 5]);
    assert_eq!(keys(&trie, "SYS/monitor/Clients"), [0, 1]);
}

#[test]
fn levels_are_compared_whole() {
    let trie = trie(&["cmd/VIN1/lock", "cmd/VIN12/lock", "cmd/VIN1", "cmd/VIN1/#", "cmd/+/lock", "cmd"]);
    assert_eq!(keys(&trie, "cmd/VIN1/lock"), [0, 3, 4]);
    assert_eq!(keys(&trie, "cmd/VIN12/lock"), [1, 4]);
    assert_eq!(keys(&trie, "cmd/VIN1"), [2, 3]);
    assert_eq!(keys(&trie, "cmd/VIN1/lock/door"), [3]);
    assert_eq!(keys(&trie, "cmd/VIN1/loc"), [3]);
    assert_eq!(keys(&trie, "cm"), []);
    assert_eq!(keys(&trie, "cmd"), [5]);
}

#[test]
fn a_subscriber_is_visited_once_for_each_filter() {
    let mut trie = Trie::new(SEED);
    for filter in ["a/b", "a/+", "a/#", "#"] {
        trie.insert(filter, 7, ());
    }
    assert_eq!(keys(&trie, "a/b"), [7; 4]);
}

#[test]
fn a_route_inserted_again_is_replaced() {
    let mut trie = trie(&["a/b"]);
    assert_eq!(trie.insert("a/b", 0, "new"), Some("value"));
    assert_eq!(trie.get("a/b", &0), Some(&"new"));
    *trie.get_mut("a/b", &0).unwrap() = "changed";
    assert_eq!(trie.get("a/b", &0), Some(&"changed"));
    assert_eq!(trie.len(), 1);
}

#[test]
fn what_is_not_there_is_neither_found_nor_removed() {
    let mut trie = trie(&["a/b/c", "a/b/#", "x/+/y"]);
    for filter in ["a", "a/b", "a/b/c/d", "a/b/+", "a/#", "x", "x/+", "x/+/#", "x/a/y", "#", "+", ""] {
        assert_eq!(trie.get(filter, &0), None, "{filter}");
        assert_eq!(trie.remove(filter, &0), None, "{filter}");
    }
    assert_eq!(trie.remove("a/b/c", &9), None);
    assert_eq!(trie.len(), 3);
}

#[test]
fn removal_frees_what_it_used() {
    let filters = ["a/b/c", "a/b/c/d", "a/b/#", "a/+/c", "a/b", "#", "x/y/z", "x/y"];
    let mut trie = trie(&filters);
    for (key, filter) in (0..).zip(filters) {
        assert_eq!(trie.remove(filter, &key), Some("value"));
        trie.check();
    }
    assert!(trie.is_empty());
    assert_eq!(trie.bytes_used(), Trie::<u64, &str>::new(SEED).bytes_used());
}

#[test]
fn freed_nodes_are_used_again() {
    let mut trie = trie(&["keep/this"]);
    for round in 0..10 {
        for key in 0..1000 {
            trie.insert(&format!("cmd/VIN{key}/#"), key, "value");
        }
        for key in 0..1000 {
            trie.remove(&format!("cmd/VIN{key}/#"), &key);
        }
        assert!(trie.nodes.len() <= 1003, "{} nodes after round {round}", trie.nodes.len());
    }
    trie.check();
}

#[test]
fn filters_of_all_depths_are_walked_without_recursion() {
    let deep = |level: &str, levels: usize| vec![level; levels].join("/");
    let mut trie = Trie::new(SEED);
    // The longest that two bytes of length allow: 65,535 empty levels and 32,768 of one character.
    trie.insert(&deep("", 65_535), 0, ());
    trie.insert(&deep("+", 32_768), 1, ());
    trie.insert(&format!("{}/#", deep("+", 32_767)), 2, ());
    trie.insert(&deep("a", 32_768), 3, ());
    // Parted at many levels, so that matching defers a branch at each.
    for levels in (1..32_768).step_by(64) {
        trie.insert(&format!("{}/+", deep("a", levels)), 4, ());
    }
    assert_eq!(keys(&trie, &deep("a", 32_768)), [1, 2, 3]);
    assert_eq!(keys(&trie, &deep("a", 66)), [4]);
    assert_eq!(keys(&trie, &deep("", 65_535)), [0, 2]);
    assert!(trie.nodes.len() < 1100, "{}", trie.nodes.len());
}

#[test]
fn every_level_may_branch() {
    let mut trie = Trie::new(SEED);
    let mut count = 0;
    for mask in 0..1 << 10 {
        let levels: Vec<_> = (0..10).map(|bit| if mask >> bit & 1 == 0 { "a" } else { "+" }).collect();
        trie.insert(&levels.join("/"), mask, ());
        trie.insert(&format!("{}/#", levels.join("/")), mask, ());
        count += 2;
    }
    assert_eq!(keys(&trie, &["a"; 10].join("/")).len(), count);
    assert_eq!(keys(&trie, &["b"; 10].join("/")).len(), 2);
    assert_eq!(keys(&trie, &["a"; 9].join("/")).len(), 0);
}

/// The most nodes that a topic is tried against, as the head of the module has it: the root, the topic's own way, and of
/// each length the ways in which `+` may stand.
fn steps_limit(levels_of: impl Fn(usize) -> usize, topic_levels: u64) -> u64 {
    let allows = |runs, levels| levels <= levels_of(runs) as u64;
    let ways = |levels: u64| match levels {
        _ if allows(3, levels) => 2_u64.pow(levels as u32) - 1,
        _ => {
            let one = levels * (levels + 1) / 2;
            let two = (levels + 1) * levels * (levels - 1) * (levels - 2) / 24;
            u64::from(allows(1, levels)) * one + u64::from(allows(2, levels)) * two
        }
    };
    1 + topic_levels + (1..=topic_levels).map(ways).sum::<u64>()
}

/// `a` and `+` in every order.
fn ways(levels: u32) -> impl Iterator<Item = String> {
    (0..1_u32 << levels).map(move |mask| {
        let level = |bit| if mask >> bit & 1 == 0 { "a" } else { "+" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    })
}

/// `a` and one run of `+`, or two.
fn runs(levels: u32) -> impl Iterator<Item = String> {
    let way = move |places: [u32; 4]| {
        let [a, b, c, d] = places;
        let level = |at| if (a..b).contains(&at) || (c..d).contains(&at) { "+" } else { "a" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    let one = (0..levels).flat_map(move |a| (a + 1..=levels).map(move |b| [a, b, levels, levels]));
    let two = one.clone().flat_map(move |[a, b, ..]| {
        (b + 1..levels).flat_map(move |c| (c + 1..=levels).map(move |d| [a, b, c, d]))
    });
    one.chain(two).map(way)
}

#[test]
fn filters_that_almost_match_cost_no_more_steps_than_their_levels_allow() {
    let limits = crate::Limits::default();
    let (wild, deep) = (u32::from(limits.wildcard_levels), u32::from(limits.topic_levels));
    let topic = |levels: u32| vec!["a"; levels as usize].join("/");
    let steps_of = |filters: &mut dyn Iterator<Item = String>, limited: bool, levels: &[u32]| {
        let mut trie = Trie::new(SEED);
        for filter in filters {
            let exceeded = limits.exceeded_by(convoy_wire::TopicFilter::new(&filter).unwrap());
            if !limited || exceeded.is_none() {
                trie.insert(&filter, 0, ());
            }
        }
        levels.iter().map(|levels| trie.matches(&topic(*levels), &mut |_, _| {})).collect::<Vec<_>>()
    };
    // As many as 16 Clients may have, of 100 levels, none of which matches. One of them has no `+`.
    let deep_ways = || ways(14).map(|way| format!("{way}{}/never", "/a".repeat(85)));
    assert_eq!(steps_of(&mut deep_ways(), false, &[100]), [(1 << 15) - 1]);
    assert_eq!(steps_of(&mut deep_ways(), true, &[100]), [2]);
    // The worst that is let through: every way of every length, and the topic's own way parted at every level.
    let (one, two) = (limits.wildcard_levels_of(1) as u32, limits.wildcard_levels_of(2) as u32);
    let worst = &mut ways(wild).chain((wild..=one).flat_map(runs)).chain((1..=deep).map(topic));
    let levels = [1, 2, 7, wild - 1, wild, wild + 1, two, two + 1, one, one + 1, 40, deep];
    let most = |levels: u32| steps_limit(|runs| limits.wildcard_levels_of(runs), u64::from(levels));
    assert_eq!(steps_of(worst, true, &levels), levels.map(most));
    assert_eq!(most(deep), 11_544);
}

#[test]
fn filters_of_the_feeds_of_public_transport_are_let_through() {
    let limits = crate::Limits::default();
    for (filter, may) in [
        // As Clients subscribe to the positions of vehicles in Helsinki and in Tampere.
        ("/hfp/v2/journey/ongoing/vp/+/+/+/+/+/+/+/+/+/+/+/#", true),
        ("/hfp/v2/journey/ongoing/+/bus/#", true),
        ("/hfp/v2/journey/ongoing/vp/bus/+/+/2550/1/+/08:00/#", true),
        ("/hfp/v2/journey/ongoing/vp/+/+/+/+/+/+/+/+/0/#", true),
        ("/hfp/v2/journey/ongoing/vp/+/+/+/+/+/+/+/+/+/60;24/19/73/44/#", true),
        ("/gtfsrt/vp/tampere/+/+/+/+/+/+/+/+/+/+/+/#", true),
        ("/gtfsrt/vp/tampere/+/+/+/TRAM/+/+/+/+/+/+/+/#", false),
        // More runs than two are as they were.
        ("/hfp/v2/journey/+/+/bus/+/+/2550/+/Kamppi/#", true),
        ("/hfp/v2/journey/+/+/bus/+/+/2550/+/Kamppi/08:00/#", false),
    ] {
        let exceeded = limits.exceeded_by(convoy_wire::TopicFilter::new(filter).unwrap());
        assert_eq!(exceeded.is_none(), may, "{filter}");
    }
}

#[test]
fn a_filter_with_many_subscribers_finds_and_loses_each() {
    let mut trie = Trie::new(SEED);
    for key in 0..100_u64 {
        assert_eq!(trie.insert("broadcast/all", key, key), None);
    }
    for key in (0..100).step_by(2) {
        assert_eq!(trie.insert("broadcast/all", key, key + 1000), Some(key));
    }
    assert_eq!(keys(&trie, "broadcast/all"), (0..100).collect::<Vec<_>>());
    for key in (0..100).rev() {
        assert_eq!(trie.get("broadcast/all", &key), Some(&(key + 1000 * u64::from(key % 2 == 0))));
        assert!(trie.remove("broadcast/all", &key).is_some());
        assert_eq!(trie.get("broadcast/all", &key), None);
        assert_eq!(trie.len() as u64, key);
    }
}

#[test]
fn a_vehicle_costs_less_than_250_bytes() {
    type Value = [u64; 3];
    let shapes: [fn(u64) -> String; 4] = [
        |vin| format!("cmd/WVWZZZ1JZXW{vin:06}/#"),
        |vin| format!("fleet/eu/WVWZZZ1JZXW{vin:06}/doors/+"),
        |vin| format!("fleet/{}/WVWZZZ1JZXW{vin:06}/doors", vin % 100),
        |vin| format!("a/{}/+/{}", vin % 300, vin / 300),
    ];
    for shape in shapes {
        let mut trie: Trie<u64, Value> = Trie::new(SEED);
        // Just after an arena has grown is the worst of moments.
        let mut worst = 0;
        for vin in 0..100_000 {
            trie.insert(&shape(vin), vin, [vin; 3]);
            if vin >= 50_000 && vin % 1000 == 0 {
                worst = worst.max(trie.bytes_used() as u64 / (vin + 1));
            }
        }
        assert!(worst <= 250, "{}: {worst} bytes", shape(0));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, u64),
    Remove(prop::sample::Index),
    RemoveAny(String, u64),
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "", "$a", "é"])
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 1..6), any::<prop::sample::Index>()).prop_map(|(mut levels, open)| {
        if open.index(4) == 0 {
            let last = levels.len() - 1;
            levels[last] = "#";
        }
        levels.join("/")
    })
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (filter(), 0..4_u64).prop_map(|(filter, key)| Step::Insert(filter, key)),
        3 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => (filter(), 0..4_u64).prop_map(|(filter, key)| Step::RemoveAny(filter, key)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_trie_is_a_faster_way_to_ask_every_filter(
        seed: u64,
        levels_hash_alike: bool,
        steps in prop::collection::vec(step(), 1..80),
        topics in prop::collection::vec(topic(), 1..20),
    ) {
        let mut trie = Trie::new(seed);
        trie.levels_hash_alike = levels_hash_alike;
        let mut model = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(filter, key) => {
                    prop_assert_eq!(trie.insert(&filter, key, number), model.insert((filter, key), number));
                }
                Step::Remove(index) if !model.is_empty() => {
                    let route = model.keys().nth(index.index(model.len())).unwrap().clone();
                    prop_assert_eq!(trie.remove(&route.0, &route.1), model.remove(&route));
                }
                Step::Remove(_) => {}
                Step::RemoveAny(filter, key) => {
                    prop_assert_eq!(trie.remove(&filter, &key), model.remove(&(filter, key)));
                }
            }
            trie.check();
        }
        let mut routes: Vec<_> = trie.iter().map(|(filter, &key, &value)| ((filter, key), value)).collect();
        routes.sort();
        prop_assert_eq!(routes, model.clone().into_iter().collect::<Vec<_>>());
        for topic in topics {
            let mut found = Vec::new();
            trie.matches(&topic, &mut |&key, &value| found.push((key, value)));
            found.sort_unstable();
            let expected = model.iter().filter(|((filter, _), _)| naive(filter, &topic));
            let mut expected: Vec<_> = expected.map(|((_, key), &value)| (*key, value)).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected, "{}", topic);
        }
    }
}
