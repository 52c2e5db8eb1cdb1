use convoy_ids::{NodeId, RingVersion, SlotId, Zone};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;
use crate::Error;

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn member(number: u64, zone: u64, weight: u16) -> Member {
    Member { node: node(number), zone: Zone(format!("zone-{zone}")), weight }
}

fn ring(slots: u16, members: impl IntoIterator<Item = Member>) -> Ring {
    Ring::new(RingVersion(1), slots, 3, members.into_iter().collect()).unwrap()
}

/// `nodes` nodes in `zones` zones, under numbers that follow from the seed.
fn fleet(seed: u64, slots: u16, nodes: u64, zones: u64) -> Ring {
    ring(slots, (0..nodes).map(|at| member(drawn(seed, at), at % zones, 128)))
}

fn drawn(seed: u64, at: u64) -> u64 {
    xxh3_64_with_seed(&at.to_le_bytes(), seed) | 1
}

fn all(ring: &Ring) -> impl Iterator<Item = (SlotId, &[NodeId])> {
    (0..ring.slots()).map(|slot| (SlotId(slot), ring.replicas(SlotId(slot))))
}

fn replicas_held(ring: &Ring, node: NodeId) -> usize {
    all(ring).filter(|(_, replicas)| replicas.contains(&node)).count()
}

#[test]
fn placement_is_the_same_in_every_release() {
    let ring = ring(8, [member(1, 0, 128), member(2, 1, 64), member(3, 2, 128), member(4, 0, 256)]);
    let placement: Vec<Vec<u64>> =
        all(&ring).map(|(_, replicas)| replicas.iter().map(|node| node.get()).collect()).collect();
    assert_eq!(
        placement,
        [[4, 3, 2], [4, 2, 3], [1, 2, 3], [4, 3, 2], [3, 4, 2], [3, 1, 2], [2, 1, 3], [4, 3, 2]]
    );

    // All placements of a large fleet in one number.
    let mut digest = 0;
    for (_, replicas) in all(&fleet(7, 1024, 100, 3)) {
        for node in replicas {
            digest = xxh3_64_with_seed(&node.get().to_le_bytes(), digest);
        }
    }
    assert_eq!(digest, 4_048_997_377_816_404_025);
}

#[test]
fn one_node_keeps_everything() {
    let ring = ring(64, [member(1, 0, 128)]);
    assert!(all(&ring).all(|(_, replicas)| replicas == [node(1)]));
}

#[test]
fn slots_that_do_not_exist_have_no_replicas() {
    let ring = ring(64, [member(1, 0, 128)]);
    assert!(ring.replicas(SlotId(64)).is_empty());
    assert!(ring.replicas(SlotId::META).is_empty());
}

#[test]
fn the_order_of_members_does_not_matter() {
    let (a, b, c) = (member(1, 0, 128), member(2, 1, 128), member(3, 2, 128));
    assert_eq!(ring(64, [a.clone(), b.clone(), c.clone()]), ring(64, [c, a, b]));
}

#[test]
fn replicas_are_distinct_nodes_in_distinct_zones_while_zones_last() {
    for (nodes, zones) in [(1, 1), (2, 1), (2, 2), (3, 1), (3, 3), (5, 2), (7, 3), (20, 4), (9, 9)] {
        for seed in 0..20 {
            let ring = fleet(seed, 64, nodes, zones);
            for (slot, replicas) in all(&ring) {
                let mut seen: Vec<_> = replicas.to_vec();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len() as u64, nodes.min(3), "{slot} of {nodes} nodes, seed {seed}");
                let mut seen: Vec<_> =
                    replicas.iter().map(|&node| &ring.member(node).unwrap().zone).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len() as u64, zones.min(3), "{slot} in {zones} zones, seed {seed}");
            }
        }
    }
}

#[test]
fn a_new_node_takes_its_share_and_little_else_moves() {
    for (nodes, zones) in [(3, 3), (4, 1), (6, 2), (9, 3), (30, 3), (30, 30)] {
        let mut moved = 0;
        let mut expected = 0.0;
        for seed in 0..40 {
            let before = fleet(seed, 256, nodes, zones);
            let new = member(drawn(seed, nodes), nodes % zones, 128);
            let after = before.with(new.clone()).unwrap();
            assert_eq!(after.version(), RingVersion(2));
            let moves = moves(&before, &after);
            // With three zones or less each zone has a whole share of the replicas, and its nodes divide it.
            let peers = if zones <= 3 { nodes / zones + 1 } else { nodes + 1 };
            let per_zone = if zones <= 3 { 1.0 / zones as f64 } else { 1.0 };
            expected += 256.0 * 3.0 * per_zone / peers as f64;
            moved += moves.len();
            // Never far beyond its share, whatever the seed.
            assert!((moves.len() as f64) < 256.0 * 3.0 * per_zone / peers as f64 * 1.8, "seed {seed}");
        }
        let ratio = moved as f64 / expected;
        // Two zones: the third replica falls to either, by the zone's nodes and not by its share.
        assert!((0.85..1.15).contains(&ratio), "{nodes} nodes in {zones} zones: {ratio}");
    }
}

#[test]
fn a_lost_node_is_replaced_and_little_else_moves() {
    for seed in 0..40 {
        let before = fleet(seed, 256, 10, 3);
        let lost = node(drawn(seed, 4));
        let after = before.without(lost).unwrap();
        let moves = moves(&before, &after);
        let held = replicas_held(&before, lost);
        assert_eq!(moves.iter().filter(|step| step.losses.contains(&lost)).count(), held);
        let others = moves.iter().flat_map(|step| &step.losses).filter(|loses| **loses != lost).count();
        assert!(others <= held / 3, "{others} beside {held}, seed {seed}");
    }
}

#[test]
fn a_node_that_comes_back_finds_its_slots() {
    let before = fleet(1, 256, 10, 3);
    let lost = before.members()[4].clone();
    let after = before.without(lost.node).unwrap().with(lost).unwrap();
    assert_eq!(after.version(), RingVersion(3));
    assert_eq!(moves(&before, &after), []);
}

#[test]
fn moves_of_a_version_to_itself_are_none() {
    let ring = fleet(1, 256, 10, 3);
    assert_eq!(moves(&ring, &ring), []);
}

#[test]
fn replicas_and_leaders_follow_the_weights() {
    let (mut replicas, mut leaders) = ([0_usize; 10], [0_usize; 10]);
    for seed in 0..40 {
        let weights = |at: u64| if at < 5 { 64 } else { 192 };
        let ring = ring(1024, (0..10).map(|at| member(drawn(seed, at), at, weights(at))));
        for at in 0..10 {
            let node = node(drawn(seed, at));
            replicas[at as usize] += replicas_held(&ring, node);
            leaders[at as usize] += all(&ring).filter(|(_, replicas)| replicas[0] == node).count();
        }
    }
    let ratio = |counts: [usize; 10]| {
        counts[5..].iter().sum::<usize>() as f64 / counts[..5].iter().sum::<usize>() as f64
    };
    assert!((2.7..3.3).contains(&ratio(leaders)), "{}", ratio(leaders));
    // A slot takes a heavy node once, so the replicas are spread a little flatter than the weights.
    assert!((2.2..3.0).contains(&ratio(replicas)), "{}", ratio(replicas));
}

#[test]
fn leaders_are_spread_over_equal_nodes() {
    for seed in 0..40 {
        let ring = fleet(seed, 1024, 10, 5);
        for member in ring.members() {
            let led = all(&ring).filter(|(_, replicas)| replicas[0] == member.node).count();
            assert!((60..150).contains(&led), "{led} of 1024 for one of ten, seed {seed}");
        }
    }
}

#[test]
fn a_node_without_weight_is_a_member_and_keeps_nothing() {
    let before = fleet(1, 64, 4, 4);
    let drained = before.members()[0].node;
    let after = before.with_weight(drained, 0).unwrap();
    assert_eq!(replicas_held(&after, drained), 0);
    assert_eq!(after.members().len(), 4);
    assert!(all(&after).all(|(_, replicas)| replicas.len() == 3));
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let of =
        |slots, replication, members| Ring::new(RingVersion(1), slots, replication, members).unwrap_err();
    let one = member(1, 0, 128);
    assert_eq!(of(0, 3, vec![one.clone()]), Error::Slots { slots: 0, most: MAX_SLOTS });
    assert_eq!(of(64, 0, vec![one.clone()]), Error::Replication { replication: 0, most: MAX_REPLICATION });
    assert_eq!(of(64, 3, vec![]), Error::Empty);
    assert_eq!(of(64, 3, vec![member(1, 0, 0)]), Error::Empty);
    assert_eq!(of(64, 3, vec![one.clone(), one.clone()]), Error::Duplicate { node: node(1) });
    assert_eq!(
        of(64, 3, vec![member(1, 0, 5000)]),
        Error::Weight { node: Some(node(1)), weight: 5000, most: MAX_WEIGHT }
    );
    let crowd = (1..=1025).map(|at| member(at, 0, 1)).collect();
    assert_eq!(of(64, 3, crowd), Error::Members { members: 1025, most: MAX_MEMBERS });
    let ring = ring(64, [one.clone()]);
    assert_eq!(ring.with(one), Err(Error::Duplicate { node: node(1) }));
    assert_eq!(ring.without(node(1)), Err(Error::Empty));
    assert_eq!(ring.without(node(2)), Err(Error::Unknown { node: node(2) }));
}

/// The most that a node may keep, or lead, of what a group of nodes keeps.
fn bound(weight: u16, all: usize, of_weight: u64) -> usize {
    (all as f64 * 1.1 * f64::from(weight) / of_weight as f64).ceil() as usize
}

#[test]
fn no_node_has_more_than_a_tenth_beyond_its_share() {
    let (mut leads_beyond, mut fleets) = (0, 0);
    for (nodes, zones) in [(3, 3), (5, 1), (6, 3), (9, 3), (12, 4), (30, 3), (30, 6), (100, 3)] {
        for seed in 0..20 {
            let weight = |at: u64| if seed % 2 == 0 { 128 } else { 96 + 32 * (at % 3) as u16 };
            let ring = ring(256, (0..nodes).map(|at| member(drawn(seed, at), at % zones, weight(at))));
            let of_zone = |zone: &Zone| -> Vec<_> {
                ring.members().iter().filter(|member| member.zone == *zone).collect()
            };
            for member in ring.members() {
                let in_zone = of_zone(&member.zone);
                let held = in_zone.iter().map(|member| replicas_held(&ring, member.node)).sum();
                let weight = in_zone.iter().map(|member| u64::from(member.weight)).sum();
                let most = bound(member.weight, held, weight).min(256);
                let found = replicas_held(&ring, member.node);
                assert!(found <= most, "{found} of {most}: {nodes} nodes in {zones} zones, seed {seed}");
                let led = all(&ring).filter(|(_, replicas)| replicas[0] == member.node).count();
                let weight = ring.members().iter().map(|member| u64::from(member.weight)).sum();
                leads_beyond += led.saturating_sub(bound(member.weight, 256, weight));
            }
            fleets += 1;
        }
    }
    assert_eq!(leads_beyond, 0, "of 256 slots each in {fleets} fleets");
}
