use xxhash_rust::xxh3::xxh3_64_with_seed;

use convoy_membership::ring::walk::{Group, Replica};
use convoy_storage::sealed;

use super::*;

const FLEET: FleetId = FleetId([7; 16]);
const TOKEN: TokenHash = TokenHash([9; 32]);

fn entrant(node: u64, zone: &str) -> Entrant {
    Entrant {
        node,
        name: format!("n{node}"),
        zone: zone.into(),
        weight: 64,
        address: format!("10.0.0.{node}:1884"),
        formats: (1, 2),
    }
}

fn found() -> Command {
    Command::Found { fleet: FLEET, slots: 16, replication: 3, format: 1, founder: entrant(1, "a") }
}

fn join(node: u64, zone: &str) -> Command {
    Command::Join { entrant: entrant(node, zone), fleet: FLEET, slots: 16, token: TOKEN, at: 1_000 }
}

/// A fleet of three in three zones.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    let token = Command::AddToken { hash: TOKEN, expires_at: 2_000, at: 500 };
    for command in [found(), token, join(2, "b"), join(3, "c"), Command::Reshape { version: 2 }] {
        apply(&mut fleet, &command);
    }
    fleet
}

/// What a command that is not refused brings about.
fn apply(fleet: &mut Fleet, command: &Command) -> Effect {
    let mut out = Vec::new();
    fleet.apply(command, &mut out);
    assert!(!matches!(out[0], Effect::Refused(_)), "{command:?}: {out:?}");
    out.remove(0)
}

/// Why a command is refused; it changes nothing.
fn refused(fleet: &Fleet, command: &Command) -> String {
    let (mut after, mut out) = (fleet.clone(), Vec::new());
    after.apply(command, &mut out);
    assert_eq!(after, *fleet);
    match out.remove(0) {
        Effect::Refused(refusal) => refusal.to_string(),
        effect => panic!("{effect:?}"),
    }
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

#[test]
fn a_fleet_is_born_once_with_its_first_node_and_ring() {
    let mut fleet = Fleet::default();
    assert_eq!(refused(&fleet, &join(2, "b")), "the fleet is not founded yet");
    let birth = Birth { fleet: FLEET, slots: 16, replication: 3 };
    assert_eq!(apply(&mut fleet, &found()), Effect::Born(birth));
    assert_eq!(fleet.ring().unwrap().replicas(SlotId(3)), [node(1)]);
    assert_eq!(refused(&fleet, &found()), "the fleet is founded already");
}

#[test]
fn nodes_join_and_the_next_ring_version_has_them() {
    let fleet = fleet();
    let ring = fleet.ring().unwrap();
    assert_eq!((ring.version(), ring.replicas(SlotId(0)).len()), (RingVersion(2), 3));
    assert_eq!(
        refused(&fleet, &Command::Reshape { version: 2 }),
        "ring version 2 is not the next one after 2: the ring has changed meanwhile"
    );
}

#[test]
fn strangers_are_refused_with_the_reason() {
    let fleet = fleet();
    let with = |change: fn(&mut Entrant)| {
        let mut entrant = entrant(4, "b");
        change(&mut entrant);
        let command = Command::Join { entrant, fleet: FLEET, slots: 16, token: TOKEN, at: 1_000 };
        refused(&fleet, &command)
    };
    let as_it_is = |fleet_id, slots, token, at| {
        let command = Command::Join { entrant: entrant(4, "b"), fleet: fleet_id, slots, token, at };
        refused(&fleet, &command)
    };
    let no_token = "no such token, or it has expired; make a new one on a member of the fleet";
    assert_eq!(as_it_is(FLEET, 16, TokenHash([1; 32]), 1_000), no_token);
    assert_eq!(as_it_is(FLEET, 16, TOKEN, 2_000), no_token);
    assert_eq!(
        as_it_is(FleetId([8; 16]), 16, TOKEN, 1_000),
        "the node is of another fleet; empty its data folder to let it join this one"
    );
    assert_eq!(
        as_it_is(FLEET, 64, TOKEN, 1_000),
        "the node was set up for 64 slots and the fleet has 16, which never changes"
    );
    assert_eq!(with(|e| e.name = "n1".into()), "the name \"n1\" is that of node 0000000000000001 in zone a");
    assert_eq!(
        with(|e| e.formats = (2, 3)),
        "node 0000000000000004 reads records of versions 2 to 3 and the fleet writes 1; use another release"
    );
    assert_eq!(with(|e| e.zone.clear()), "the zone has 0 bytes: use 1 to 255");
    assert_eq!(with(|e| e.address = "x".repeat(300)), "the address has 300 bytes: use 1 to 255");
    assert_eq!(with(|e| e.weight = 5_000), "weight = 5000 of node 0000000000000004: use 0 to 4096");
    assert_eq!(with(|e| e.node = 0), "zero is no node");
}

#[test]
fn a_member_that_comes_again_needs_no_token_and_stays_in_its_zone() {
    let mut fleet = fleet();
    let again = |zone: &str| Command::Join {
        entrant: Entrant { address: "10.0.9.9:1".into(), ..entrant(2, zone) },
        fleet: FLEET,
        slots: 16,
        token: TokenHash([0; 32]),
        at: 9_000,
    };
    assert_eq!(
        refused(&fleet, &again("c")),
        "node 0000000000000002 is in zone b and does not change it; remove it and let it join anew"
    );
    apply(&mut fleet, &Command::Drain { node: 2 });
    assert_eq!(apply(&mut fleet, &again("b")), Effect::Changed(node(2)));
    let member = fleet.member(node(2)).unwrap();
    assert_eq!((&member.address[..], member.state), ("10.0.9.9:1", State::Draining));
}

#[test]
fn a_node_leaves_the_ring_first_and_never_comes_back_once_it_is_removed() {
    let mut fleet = fleet();
    let remove = Command::Remove { node: 3 };
    let in_ring = "node 0000000000000003 still has a place in the ring; drain it first";
    assert_eq!(refused(&fleet, &remove), in_ring);
    apply(&mut fleet, &Command::Replace { node: 3 });
    assert_eq!(refused(&fleet, &remove), in_ring);
    apply(&mut fleet, &Command::Reshape { version: 3 });
    assert!((0..16).all(|slot| !fleet.ring().unwrap().replicas(SlotId(slot)).contains(&node(3))));
    let mut restored = fleet.clone();
    apply(&mut restored, &Command::Restore { node: 3 });
    apply(&mut restored, &Command::Reshape { version: 4 });
    assert_eq!(restored.ring().unwrap().replicas(SlotId(0)).len(), 3);
    assert_eq!(apply(&mut fleet, &remove), Effect::Removed(node(3)));
    let gone = "node 0000000000000003 was removed from the fleet; empty its data folder to let it join as a new node";
    assert_eq!(refused(&fleet, &join(3, "c")), gone);
    assert_eq!(refused(&fleet, &Command::Number { slot: 1, node: 3 }), gone);
}

#[test]
fn the_last_node_that_keeps_replicas_stays() {
    let mut fleet = fleet();
    apply(&mut fleet, &Command::Drain { node: 1 });
    apply(&mut fleet, &Command::Replace { node: 2 });
    for command in
        [Command::Drain { node: 3 }, Command::Replace { node: 3 }, Command::Reweigh { node: 3, weight: 0 }]
    {
        assert_eq!(refused(&fleet, &command), "no other member could keep a replica");
    }
    apply(&mut fleet, &Command::Restore { node: 2 });
    apply(&mut fleet, &Command::Drain { node: 3 });
}

#[test]
fn a_node_with_the_last_replica_of_a_slot_is_not_removed() {
    let replica = |number| Replica { node: node(number), number: ReplicaId::new(number).unwrap() };
    let group = |voters: &[u64]| Group {
        voters: voters.iter().map(|number| replica(*number)).collect(),
        ..Group::default()
    };
    let (both, alone) = (group(&[1, 2]), group(&[1]));
    let judge = |number, groups: &[&Group]| {
        judge_removal(node(number), (0..).map(SlotId).zip(groups.iter().copied()))
    };
    assert_eq!(judge(3, &[&both, &alone]), Ok(()));
    assert_eq!(judge(2, &[&both]), Err(Refusal::KeepsReplica { node: node(2), slot: SlotId(0) }));
    assert_eq!(judge(1, &[&both, &alone]), Err(Refusal::LastReplica { node: node(1), slot: SlotId(1) }));
}

/// The first replicas have the numbers of their nodes.
#[test]
fn no_node_has_the_number_of_a_replica() {
    let most = (1 << 63) + NUMBERS_LIMIT;
    for (of, is_kept) in [(1 << 63, false), ((1 << 63) + 1, true), (most, true), (most + 1, false)] {
        let founder = Entrant { node: of, ..entrant(1, "a") };
        let found = Command::Found { fleet: FLEET, slots: 16, replication: 3, format: 1, founder };
        let join = Command::Join {
            entrant: Entrant { node: of, ..entrant(4, "a") },
            fleet: FLEET,
            slots: 16,
            token: TOKEN,
            at: 1_000,
        };
        let judged = [Fleet::default().judge(&found), fleet().judge(&join)];
        let expected = if is_kept { Err(Refusal::Reserved(node(of))) } else { Ok(()) };
        assert_eq!(judged, [expected.clone(), expected], "{of}");
    }
    let mut fleet = fleet();
    fleet.numbered = NUMBERS_LIMIT - 1;
    let last = apply(&mut fleet, &Command::Number { slot: 3, node: 2 });
    assert!(matches!(last, Effect::Numbered { number, .. } if number.get() == most));
    assert_eq!(
        refused(&fleet, &Command::Number { slot: 3, node: 2 }),
        "all numbers of replicas are given out"
    );
    assert_eq!(Fleet::decode(&fleet.encode()), Ok(fleet));
}

#[test]
fn numbers_of_replicas_ascend_and_records_of_a_version_that_somebody_cannot_read_are_not_written() {
    let mut fleet = fleet();
    let number = |slot| Command::Number { slot, node: 2 };
    let given = [apply(&mut fleet, &number(3)), apply(&mut fleet, &number(3))];
    let numbered = |number: u64| {
        let number = ReplicaId::new((1 << 63) + number).unwrap();
        Effect::Numbered { slot: SlotId(3), node: node(2), number }
    };
    assert_eq!(given, [numbered(1), numbered(2)]);
    assert_eq!(refused(&fleet, &number(16)), "slot 16 of a fleet of 16");
    apply(&mut fleet, &number(SlotId::META.0));
    assert!(
        refused(&fleet, &Command::Raise { format: 3 }).ends_with("the fleet writes 3; use another release")
    );
    assert_eq!(apply(&mut fleet, &Command::Raise { format: 2 }), Effect::Raised(2));
    assert_eq!(
        refused(&fleet, &Command::Raise { format: 1 }),
        "the fleet writes records of version 2 and does not go back to 1"
    );
}

#[test]
fn tokens_are_bounded_and_end() {
    let mut fleet = fleet();
    let add = |number: u16, at| {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&number.to_le_bytes());
        Command::AddToken { hash: TokenHash(hash), expires_at: at + 1_000, at }
    };
    (1..1_024).for_each(|number| drop(apply(&mut fleet, &add(number, 1_500))));
    assert_eq!(refused(&fleet, &add(2_000, 1_500)), "1024 join tokens are valid: revoke one first");
    apply(&mut fleet, &Command::RevokeToken { hash: TOKEN });
    apply(&mut fleet, &add(2_000, 1_500));
    apply(&mut fleet, &add(2_001, 2_500));
    assert_eq!(fleet.tokens.len(), 1, "those that have expired are gone");
}

/// Records as the first release writes them. They must be readable for ever.
#[test]
fn the_form_is_frozen() {
    let body = |bytes: &[u8]| bytes[12..].escape_ascii().to_string();
    let commands = [
        (
            found(),
            r"\x00\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x10\x03\x01\x01\x02n1\x01a@\r10.0.0.1:1884\x01\x02",
        ),
        (Command::Readdress { node: 2, address: "x".into() }, r"\x02\x02\x01x"),
        (Command::Reweigh { node: 2, weight: 3 }, r"\x03\x02\x03"),
        (Command::Drain { node: 2 }, r"\x04\x02"),
        (Command::Replace { node: 2 }, r"\x05\x02"),
        (Command::Restore { node: 2 }, r"\x06\x02"),
        (Command::Remove { node: 2 }, r"\x07\x02"),
        (Command::Reshape { version: 2 }, r"\x08\x02"),
        (Command::Raise { format: 2 }, r"\t\x02"),
        (Command::Number { slot: 3, node: 2 }, r"\n\x03\x02"),
    ];
    for (command, expected) in commands {
        assert_eq!(body(&command.encode()), expected, "{command:?}");
    }
    let zeros = r"\x00".repeat(32);
    let hash = TokenHash([0; 32]);
    let add = Command::AddToken { hash, expires_at: 2, at: 1 };
    assert_eq!(body(&add.encode()), format!(r"\x0b{zeros}\x02\x01"));
    assert_eq!(body(&Command::RevokeToken { hash }.encode()), format!(r"\x0c{zeros}"));
    let join =
        Command::Join { entrant: entrant(2, "b"), fleet: FleetId([0; 16]), slots: 16, token: hash, at: 1 };
    let half = r"\x00".repeat(16);
    assert_eq!(
        body(&join.encode()),
        format!(r"\x01\x02\x02n2\x01b@\r10.0.0.2:1884\x01\x02{half}\x10{zeros}\x01")
    );
    let mut fleet = Fleet::default();
    apply(&mut fleet, &found());
    let sevens = r"\x07".repeat(16);
    let member = r"\x01\x01\x02n1\x01a@\r10.0.0.1:1884\x01\x02\x00";
    assert_eq!(
        body(&fleet.encode()),
        format!(r"\x01{sevens}\x10\x03\x01{member}\x00\x00\x01\x01\x01\x01\x01a@\x00")
    );
    let header = fleet.encode();
    assert_eq!((&header[..4], &found().encode()[..4]), (&b"\xC0\x47\x43\x01"[..], &b"\xC0\x47\x42\x01"[..]));
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let (state, command) = (fleet().encode(), found().encode());
    for end in 0..state.len() {
        assert!(Fleet::decode(&state[..end]).is_err());
    }
    for end in 0..command.len() {
        assert!(Command::decode(&command[..end]).is_err());
    }
    assert!(Command::decode(&state).is_err() && Fleet::decode(&command).is_err());
    let mut later = Vec::new();
    convoy_storage::envelope::seal(0x42, 2, &mut later, |into| into.push(0));
    assert_eq!(Command::decode(&later), Err(Error::Sealed(sealed::Error::Version { found: 2, known: 1 })));
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), 13);
        self.0 % end
    }
}

fn any(chance: &mut Chance, fleet: &Fleet, at: u64) -> Command {
    let node = chance.below(14);
    let mut entrant = entrant(node, ["a", "b", "c"][(node % 3) as usize]);
    match chance.below(12) {
        0 => entrant.name = format!("n{}", chance.below(14)),
        1 => entrant.zone = "d".into(),
        2 => entrant.formats = (chance.below(4) as u16, chance.below(4) as u16),
        3 => entrant.weight = 0,
        _ => {}
    }
    let version = fleet.ring().map_or(0, |ring| ring.version().0) + chance.below(2);
    match chance.below(20) {
        0..5 => Command::Join {
            entrant,
            fleet: if chance.below(9) == 0 { FleetId([1; 16]) } else { FLEET },
            slots: if chance.below(9) == 0 { 8 } else { 16 },
            token: TOKEN,
            at,
        },
        5 => Command::Readdress { node, address: "x".repeat(chance.below(300) as usize) },
        6 => Command::Reweigh { node, weight: chance.below(100) as u16 },
        7 => Command::Drain { node },
        8 => Command::Replace { node },
        9 | 10 => Command::Restore { node },
        11 | 12 => Command::Remove { node },
        13..16 => Command::Reshape { version },
        16 => Command::Raise { format: chance.below(4) as u16 },
        17 => Command::Number { slot: chance.below(18) as u16, node },
        18 => Command::AddToken { hash: TOKEN, expires_at: at + chance.below(500), at },
        _ => {
            Command::Found { fleet: FleetId([2; 16]), slots: 8, replication: 1, format: 1, founder: entrant }
        }
    }
}

#[test]
fn replicas_agree_whatever_is_proposed_and_one_that_comes_from_its_rows_agrees_with_them() {
    let (mut carried_out, mut refused, mut removed) = (0, 0, 0);
    for seed in 0..20 {
        let mut chance = Chance(seed);
        let mut one = fleet();
        let (mut two, mut gone, mut last_number) = (one.clone(), Vec::new(), None);
        for turn in 0..300 {
            let command = any(&mut chance, &one, 1_000 + turn * 10);
            let command = Command::decode(&command.encode()).unwrap();
            let before = one.ring().unwrap().version();
            let (mut first, mut second) = (Vec::new(), Vec::new());
            assert_eq!(one.judge(&command).is_ok(), {
                one.apply(&command, &mut first);
                !matches!(first[0], Effect::Refused(_))
            });
            two.apply(&command, &mut second);
            assert_eq!(first, second);
            if chance.below(10) == 0 {
                two = Fleet::decode(&one.encode()).unwrap();
            }
            assert_eq!(one, two);
            match first.remove(0) {
                Effect::Refused(_) => refused += 1,
                effect => {
                    carried_out += 1;
                    match effect {
                        Effect::Numbered { number, .. } => {
                            assert!(Some(number) > last_number);
                            last_number = Some(number);
                        }
                        Effect::Removed(node) => gone.push(node),
                        Effect::Reshaped(version) => assert_eq!(version.0, before.0 + 1),
                        _ => {}
                    }
                }
            }
            let names: std::collections::BTreeSet<_> =
                one.members().map(|(_, member)| &member.name).collect();
            assert_eq!(names.len(), one.members().count());
            assert!(gone.iter().all(|node| one.member(*node).is_none()));
            assert_eq!(one.birth(), Some(&Birth { fleet: FLEET, slots: 16, replication: 3 }));
            // There is always a version that could come next, and no slot without a member that keeps it.
            let ring = one.ring().unwrap();
            assert!(one.next_ring().is_ok());
            for slot in (0..16).map(SlotId) {
                assert!(ring.replicas(slot).iter().all(|node| one.member(*node).is_some()));
                assert!(!ring.replicas(slot).is_empty());
            }
            assert!(
                one.members().all(|(_, member)| (member.formats.0..=member.formats.1).contains(&one.format))
            );
        }
        removed += gone.len();
    }
    assert!(carried_out > 1_000 && refused > 1_000 && removed > 50, "{carried_out} {refused} {removed}");
}
