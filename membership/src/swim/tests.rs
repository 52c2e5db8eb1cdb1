//! Small fleets whose datagrams are carried here, with time in steps of 100 ms.

use std::collections::BTreeSet;

use super::*;

const STEP: u64 = 100;

struct Fleet {
    now: u64,
    /// None while it is down.
    nodes: Vec<Option<Swim>>,
    starts: Vec<u32>,
    /// Nodes that stand still: nothing is taken and nothing due.
    still: BTreeSet<u64>,
    /// Ways that let nothing through.
    cut: BTreeSet<(u64, u64)>,
    /// Datagrams that arrive in the next step.
    under_way: Vec<(u64, u64, Bytes)>,
    sent: usize,
    /// One of so many is lost.
    loses: usize,
}

fn id(number: u64) -> NodeId {
    NodeId::new(number).expect("it is not zero")
}

fn address(number: u64) -> String {
    format!("node-{number}:1884")
}

impl Fleet {
    /// Nodes are numbered from 1.
    fn new(count: u64) -> Self {
        let mut fleet = Self {
            now: 1_000,
            nodes: (0..count).map(|_| None).collect(),
            starts: vec![0; count as usize],
            still: BTreeSet::new(),
            cut: BTreeSet::new(),
            under_way: Vec::new(),
            sent: 0,
            loses: usize::MAX,
        };
        (1..=count).for_each(|number| fleet.start(number, &address(number)));
        fleet
    }

    fn start(&mut self, number: u64, at: &str) {
        let place = number as usize - 1;
        self.starts[place] += 1;
        let process = Process::new(id(number), self.starts[place], at);
        let mut swim = Swim::new(self.now, process, number);
        let members: Vec<_> = (1..=self.nodes.len() as u64).map(|one| (id(one), address(one))).collect();
        swim.set_fleet(self.now, members.iter().map(|(node, address)| (*node, &**address)));
        self.nodes[place] = Some(swim);
    }

    fn of(&mut self, number: u64) -> &mut Swim {
        self.nodes[number as usize - 1].as_mut().expect("it is up")
    }

    fn stop(&mut self, number: u64) {
        self.nodes[number as usize - 1] = None;
    }

    fn cut(&mut self, one: u64, other: u64) {
        self.cut.extend([(one, other), (other, one)]);
    }

    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / STEP {
            self.now += STEP;
            for (from, to, bytes) in std::mem::take(&mut self.under_way) {
                let is_taken = !self.still.contains(&to) && !self.cut.contains(&(from, to));
                if let Some(swim) = self.nodes[to as usize - 1].as_mut().filter(|_| is_taken) {
                    swim.hear(self.now, &bytes).expect("what nodes say is right");
                }
            }
            for number in (1..=self.nodes.len() as u64).filter(|number| !self.still.contains(number)) {
                let Some(swim) = &mut self.nodes[number as usize - 1] else { continue };
                swim.tick(self.now);
                for Datagram { to, bytes, .. } in swim.take_datagrams() {
                    assert!(bytes.len() <= DATAGRAM_LIMIT);
                    self.sent += 1;
                    if !self.sent.is_multiple_of(self.loses) {
                        self.under_way.push((number, to.get(), bytes));
                    }
                }
            }
        }
    }

    /// Whom each node that is up and runs holds for away.
    fn away(&self) -> Vec<Vec<u64>> {
        let running = (1..).zip(&self.nodes).filter(|(number, _)| !self.still.contains(number));
        let of = |swim: &Swim| swim.away().map(|(node, _)| node.get()).collect();
        running.filter_map(|(_, swim)| swim.as_ref().map(of)).collect()
    }

    fn all_agree_on(&self, away: &[u64]) -> bool {
        self.away().iter().all(|seen| seen == away)
    }

    /// Time until all agree on who is away.
    fn time_until(&mut self, away: &[u64], limit: u64) -> u64 {
        let began = self.now;
        while !self.all_agree_on(away) {
            assert!(self.now - began < limit, "after {limit} ms: {:?}", self.away());
            self.pass(STEP);
        }
        self.now - began
    }
}

#[test]
fn members_find_each_other_by_what_the_meta_group_knows() {
    for count in [2, 3, 7, 40] {
        let mut fleet = Fleet::new(count);
        assert!(!fleet.all_agree_on(&[]), "nobody was heard yet");
        let took = fleet.time_until(&[], 15_000);
        assert!(took <= 5_000, "{count} nodes: {took} ms");
    }
}

#[test]
fn a_node_that_dies_is_suspect_and_then_away_and_alive_when_it_is_back() {
    let mut fleet = Fleet::new(5);
    fleet.time_until(&[], 15_000);
    fleet.stop(3);
    let died_at = fleet.now;
    let mut was_suspect = false;
    while !fleet.all_agree_on(&[3]) {
        fleet.pass(STEP);
        was_suspect |= fleet.of(1).look_at(id(3)) == Some(Seen::Suspect);
        assert!(fleet.now - died_at < 15_000);
    }
    assert!(was_suspect);
    let Some(Seen::Away(since)) = fleet.of(1).look_at(id(3)) else { panic!("it is away") };
    assert!((died_at..=fleet.now).contains(&since));
    fleet.pass(60_000);
    assert_eq!(fleet.of(1).look_at(id(3)), Some(Seen::Away(since)), "it is away since then");
    fleet.start(3, "elsewhere:1884");
    let took = fleet.time_until(&[], 15_000);
    assert!(took <= 2_000, "{took} ms");
    for number in [1, 2, 4, 5] {
        assert_eq!(fleet.of(number).address_of(id(3)).as_deref(), Some("elsewhere:1884"));
    }
}

#[test]
fn a_node_that_ends_says_so() {
    let mut fleet = Fleet::new(4);
    fleet.time_until(&[], 15_000);
    let now = fleet.now;
    fleet.of(2).leave(now);
    fleet.pass(STEP);
    fleet.stop(2);
    assert!(fleet.time_until(&[2], 15_000) <= 1_000);
}

#[test]
fn two_nodes_that_cannot_hear_each_other_are_alive_to_all_while_a_third_hears_both() {
    let mut fleet = Fleet::new(3);
    fleet.time_until(&[], 15_000);
    fleet.cut(1, 2);
    for _ in 0..600 {
        fleet.pass(STEP);
        assert!(fleet.all_agree_on(&[]), "{:?}", fleet.away());
    }
}

#[test]
fn two_halves_find_each_other_when_the_cut_is_over_also_where_one_is_a_node_alone() {
    for (count, half) in [(5, 2), (3, 1), (2, 1)] {
        let mut fleet = Fleet::new(count);
        fleet.time_until(&[], 15_000);
        for one in 1..=half {
            (half + 1..=count).for_each(|other| fleet.cut(one, other));
        }
        fleet.pass(120_000);
        let others: Vec<u64> = (half + 1..=count).collect();
        let seen: Vec<u64> = fleet.of(1).away().map(|(node, _)| node.get()).collect();
        assert_eq!(seen, others);
        fleet.cut.clear();
        let took = fleet.time_until(&[], 30_000);
        assert!(took <= 10_000, "{count} nodes: {took} ms");
    }
}

#[test]
fn a_process_that_stood_still_is_alive_again_soon_and_takes_nobody_for_away() {
    let mut fleet = Fleet::new(4);
    fleet.time_until(&[], 15_000);
    fleet.still.insert(4);
    fleet.time_until(&[4], 15_000);
    fleet.pass(30_000);
    fleet.still.clear();
    for _ in 0..100 {
        fleet.pass(STEP);
        let now = fleet.now;
        let wrongly: Vec<_> = fleet.of(4).away().filter(|(_, since)| now - since < 5_000).collect();
        assert_eq!(wrongly, [], "it has asked everybody before it judges");
    }
    assert!(fleet.all_agree_on(&[]), "{:?}", fleet.away());
}

#[test]
fn who_loses_one_datagram_in_twenty_takes_nobody_for_away() {
    let mut fleet = Fleet::new(5);
    fleet.loses = 20;
    fleet.time_until(&[], 15_000);
    for _ in 0..3_000 {
        fleet.pass(STEP);
        assert!(fleet.all_agree_on(&[]), "{:?}", fleet.away());
    }
}

#[test]
fn a_second_process_of_the_same_node_is_known_as_such() {
    let mut fleet = Fleet::new(2);
    fleet.time_until(&[], 15_000);
    let mut twin = Swim::new(fleet.now, Process::new(id(1), 9, "copied:1884"), 3);
    twin.set_fleet(fleet.now, [(id(2), "node-2:1884")]);
    twin.tick(fleet.now + STEP);
    let said = twin.take_datagrams().remove(0).bytes;
    let now = fleet.now;
    assert_eq!(fleet.of(1).hear(now, &said), Err(Refused::Twin));
    assert_eq!(fleet.of(2).hear(now, &said), Ok(()));
    fleet.pass(STEP);
    assert_eq!(fleet.of(2).address_of(id(1)).as_deref(), Some("copied:1884"), "the later start counts");
}

#[test]
fn nobody_is_told_who_is_no_member_and_who_was_removed_is_forgotten() {
    let mut fleet = Fleet::new(4);
    fleet.time_until(&[], 15_000);
    let now = fleet.now;
    let members: Vec<_> = [1, 2, 3].map(|one| (id(one), address(one))).into();
    for number in 1..=3 {
        let members = members.iter().map(|(node, address)| (*node, &**address));
        fleet.of(number).set_fleet(now, members);
    }
    assert_eq!(fleet.of(1).look_at(id(4)), None);
    fleet.stop(4);
    fleet.pass(60_000);
    assert!(fleet.all_agree_on(&[]));
    for number in 1..=3 {
        assert_eq!(fleet.of(number).processes().filter(|one| one.node == id(4)).count(), 0);
    }
}

#[test]
fn a_member_that_makes_up_nodes_fills_nothing() {
    let mut swim = Swim::new(0, Process::new(id(1), 1, "a"), 1);
    swim.set_fleet(0, [(id(2), "b")]);
    let mut refused = 0;
    for number in 3..MAX_MEMBERS as u64 + 100 {
        let mut made_up = Swim::new(0, Process::new(id(number), 1, "c"), 1);
        made_up.set_fleet(0, [(id(1), "a")]);
        made_up.tick(1);
        let said = made_up.take_datagrams().remove(0).bytes;
        refused += usize::from(swim.hear(1, &said) == Err(Refused::Crowded));
        swim.take_datagrams();
    }
    assert!(refused > 0 && swim.processes().count() <= MAX_MEMBERS + 1);
    assert_eq!(swim.away().map(|(node, _)| node).collect::<Vec<_>>(), [id(2)], "who is a member is known");
}

#[test]
fn what_was_changed_on_its_way_is_refused_or_taken_and_harms_nothing() {
    let mut fleet = Fleet::new(3);
    fleet.time_until(&[], 15_000);
    let mut chance = SmallRng::seed_from_u64(7);
    let mut draw = |most: usize| rand::RngExt::random_range(&mut chance, 0..most);
    let mut refused = 0;
    for _ in 0..5_000 {
        fleet.pass(STEP);
        let Some((_, to, bytes)) = fleet.under_way.first().cloned() else { continue };
        let mut bytes = bytes.to_vec();
        for _ in 0..=draw(3) {
            let at = draw(bytes.len());
            match draw(3) {
                0 => bytes[at] = draw(256) as u8,
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, draw(256) as u8),
            }
        }
        // To one that is thrown away: what a member says is believed.
        let mut swim = Swim::new(fleet.now, Process::new(id(to), 1, "x"), 5);
        swim.set_fleet(fleet.now, [(id(to % 3 + 1), "y")]);
        refused += usize::from(swim.hear(fleet.now, &bytes).is_err());
        swim.tick(fleet.now + 60_000);
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn what_a_node_sends_does_not_grow_with_the_fleet() {
    let sent_by_each = |count: u64| {
        let mut fleet = Fleet::new(count);
        fleet.time_until(&[], 30_000);
        fleet.pass(60_000);
        let before = fleet.sent;
        fleet.pass(60_000);
        (fleet.sent - before) as f64 / 60.0 / count as f64
    };
    let (few, many) = (sent_by_each(5), sent_by_each(60));
    assert!(few < 4.0 && many < few * 1.3, "datagrams a second: {few} of 5 nodes, {many} of 60");
}
