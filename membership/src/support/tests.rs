//! The two sides by themselves, and a fleet in which everything goes wrong but the rules.

use std::collections::BTreeMap;

use convoy_ids::{NodeId, SlotId, Term};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;

const SLOT: SlotId = SlotId(3);
const TIMES: Times = Times { support: 2_000, proof: 1_000, gone: 30_000, drift: 100 };

fn process(number: u64) -> Process {
    Process { node: NodeId::new(number).unwrap(), start: 1 }
}

/// A leader that was elected long ago.
fn leader() -> Supporter {
    let mut leader = Supporter::new(TIMES, Term(5), 0);
    leader.prove(9_500);
    leader.introduce(process(1), 9_600);
    leader
}

#[test]
fn a_leader_supports_while_its_proof_is_recent() {
    let mut leader = leader();
    assert_eq!(leader.ask(process(1), 10_000), Ok(Support { term: Term(5), closings: 0 }));
    assert!(!leader.is_proven(10_500));
    assert_eq!(leader.ask(process(1), 10_500), Err(Unsupported::Unproven));
    leader.prove(10_400);
    assert!(leader.ask(process(1), 10_500).is_ok());
    leader.leave();
    assert_eq!(leader.ask(process(1), 10_600), Err(Unsupported::Unproven));
    leader.stay();
    assert!(leader.ask(process(1), 10_600).is_ok());
}

#[test]
fn a_process_introduces_itself_first() {
    let mut leader = leader();
    assert_eq!(leader.ask(process(2), 10_000), Err(Unsupported::Introduce));
    leader.introduce(process(2), 10_000);
    assert!(leader.ask(process(2), 10_000).is_ok());
}

#[test]
fn a_takeover_waits_for_support_given_before_it_and_for_none_given_later() {
    let mut leader = leader();
    leader.ask(process(1), 10_000).unwrap();
    let closing = leader.close(process(1), 10_100);
    assert_eq!(closing, Closing { number: 1, free_at: 12_022 });
    assert_eq!(leader.ask(process(1), 10_400), Ok(Support { term: Term(5), closings: 1 }));
    let next = leader.close(process(1), 10_450);
    assert_eq!(next, Closing { number: 2, free_at: 12_422 });
    assert_eq!(leader.close(process(2), 10_450).free_at, 10_450, "nobody supported it");
}

#[test]
fn a_new_leader_waits_for_what_its_predecessor_may_have_given() {
    let mut leader = Supporter::new(TIMES, Term(6), 50_000);
    assert_eq!(leader.close(process(1), 50_100).free_at, 50_000 + 1_012 + 2_022);
}

#[test]
fn who_does_not_ask_is_gone_after_a_while() {
    let mut leader = leader();
    leader.expect(process(2), 10_000);
    leader.ask(process(1), 30_000).unwrap_err();
    assert_eq!(leader.take_gone(39_999), []);
    assert_eq!(leader.take_gone(40_000), [process(2)]);
    assert_eq!(leader.take_gone(60_000), [process(1)]);
    assert_eq!(leader.ask(process(1), 60_000), Err(Unsupported::Introduce));
}

#[test]
fn support_counts_from_when_it_was_asked_for() {
    let mut supported = Supported::new(TIMES);
    assert!(supported.take(SLOT, Support { term: Term(5), closings: 0 }, 1_000));
    assert!(supported.holds(SLOT, 2_999) && !supported.holds(SLOT, 3_000));
    assert!(!supported.holds(SlotId(4), 2_000));
    // One that was asked for earlier takes nothing back.
    supported.take(SLOT, Support { term: Term(5), closings: 0 }, 500);
    assert!(supported.holds(SLOT, 2_999));
}

#[test]
fn support_holds_once_what_was_closed_is_closed() {
    let mut supported = Supported::new(TIMES);
    supported.take(SLOT, Support { term: Term(5), closings: 2 }, 1_000);
    assert!(!supported.holds(SLOT, 1_500));
    supported.closed(SLOT, Term(5), 1);
    assert!(!supported.holds(SLOT, 1_500));
    supported.closed(SLOT, Term(5), 2);
    assert!(supported.holds(SLOT, 1_500));
}

#[test]
fn a_later_term_ends_what_an_earlier_one_supported() {
    let mut supported = Supported::new(TIMES);
    supported.take(SLOT, Support { term: Term(5), closings: 0 }, 1_000);
    supported.closed(SLOT, Term(6), 1);
    assert!(!supported.holds(SLOT, 1_500));
    assert!(!supported.take(SLOT, Support { term: Term(5), closings: 0 }, 1_400));
    supported.closed(SLOT, Term(5), 9);
    supported.take(SLOT, Support { term: Term(6), closings: 1 }, 1_400);
    assert!(supported.holds(SLOT, 1_500));
}

/// A rule that is left out, to see that the runs below would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A takeover does not wait.
    TheFence,
    /// A new leader takes itself for the first.
    ThePredecessor,
    /// A proof counts from when it came back.
    TheBeginOfAProof,
    /// A leader that was deposed goes on.
    Proofs,
    /// The process does not look at what was closed.
    Closings,
    /// The process is supported in a new term as in the one before.
    TheIntroduction,
    /// The process counts from when it hears of its support.
    TheTimeOfAsking,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), 7);
        self.0 % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// A connection of a Session, by its epoch.
type Owner = (usize, u64);

enum Letter {
    Ask {
        from: usize,
        asked: u64,
    },
    Introduce {
        from: usize,
        term: u64,
        connections: Vec<(usize, u64)>,
    },
    Supported {
        to: usize,
        support: Support,
        asked: u64,
    },
    IntroduceYourself {
        to: usize,
        term: u64,
    },
    /// All that was closed at a process in this term, in order.
    Closings {
        to: usize,
        term: u64,
        closed: Vec<Owner>,
    },
    Closed {
        from: usize,
        term: u64,
        number: u64,
    },
    /// A quorum has answered the leader of this term.
    Proven {
        term: u64,
        began: u64,
    },
}

struct Leader {
    at: usize,
    supporter: Supporter,
    /// What was closed at each process.
    closed: BTreeMap<usize, Vec<Owner>>,
    /// Session, where it goes, the closing that is waited for.
    takeovers: Vec<(usize, usize, usize, Closing)>,
}

struct Edge {
    supported: Supported,
    /// Session -> epoch of the connection that is open here.
    open: BTreeMap<usize, u64>,
}

/// Four nodes, three Sessions, one slot.
struct Fleet {
    chance: Chance,
    without: Without,
    now: u64,
    clocks: Vec<(u64, i64)>,
    term: u64,
    leaders: BTreeMap<u64, Leader>,
    edges: Vec<Edge>,
    owners: Vec<Owner>,
    epochs: u64,
    /// Letters by when they arrive.
    mail: BTreeMap<(u64, u64), (usize, Letter)>,
    letters: u64,
    cut: Vec<(usize, usize)>,
    granted: u64,
    acknowledged: u64,
}

const NODES: usize = 4;
const SESSIONS: usize = 3;

impl Fleet {
    fn new(seed: u64, without: Without) -> Self {
        let mut chance = Chance(seed);
        // Half of what is reckoned with, in either direction.
        let clocks = (0..NODES).map(|_| (chance.below(1_000_000), chance.below(11) as i64 - 5)).collect();
        let edge = || Edge { supported: Supported::new(TIMES), open: BTreeMap::new() };
        let mut fleet = Self {
            chance,
            without,
            now: 0,
            clocks,
            term: 0,
            leaders: BTreeMap::new(),
            edges: (0..NODES).map(|_| edge()).collect(),
            owners: vec![(0, 0); SESSIONS],
            epochs: 0,
            mail: BTreeMap::new(),
            letters: 0,
            cut: Vec::new(),
            granted: 0,
            acknowledged: 0,
        };
        fleet.elect();
        fleet
    }

    fn clock(&self, node: usize) -> u64 {
        let (offset, drift) = self.clocks[node];
        offset + (self.now as i64 + self.now as i64 * drift / 1000) as u64
    }

    fn elect(&mut self) {
        self.term += 1;
        let at = self.chance.below(NODES as u64) as usize;
        let mut supporter = Supporter::new(TIMES, Term(self.term), self.clock(at));
        if self.without == Without::ThePredecessor {
            supporter = Supporter::new(TIMES, Term(self.term), 0);
        }
        let leader = Leader { at, supporter, closed: BTreeMap::new(), takeovers: Vec::new() };
        self.leaders.insert(self.term, leader);
    }

    fn send(&mut self, from: usize, to: usize, letter: Letter) {
        if self.cut.contains(&(from, to)) || self.chance.one_in(10) {
            return;
        }
        let slow = if self.chance.one_in(8) { 3_000 } else { 60 };
        let at = self.now + self.chance.below(slow);
        self.letters += 1;
        self.mail.insert((at, self.letters), (to, letter));
    }

    fn run(&mut self, millis: u64) -> Result<(), String> {
        let end = self.now + millis;
        while self.now < end {
            self.now += 10;
            while let Some(first) = self.mail.first_entry().filter(|first| first.key().0 <= self.now) {
                let (to, letter) = first.remove();
                self.hear(to, letter);
            }
            self.act();
            self.check()?;
        }
        Ok(())
    }

    fn act(&mut self) {
        if self.chance.one_in(400) {
            self.elect();
        }
        if self.chance.one_in(300) {
            self.cut = (0..self.chance.below(8))
                .map(|_| (self.chance.below(NODES as u64) as usize, self.chance.below(NODES as u64) as usize))
                .collect();
        }
        // Whoever takes itself for the leader asks for proofs now and then; a quorum answers those of the newest term.
        for (term, at) in self.leaders.iter().map(|(term, leader)| (*term, leader.at)).collect::<Vec<_>>() {
            if self.chance.one_in(30) {
                let began = self.clock(at);
                if term == self.term || self.without == Without::Proofs {
                    self.send(at, at, Letter::Proven { term, began });
                }
            }
        }
        for node in 0..NODES {
            if self.chance.one_in(30) {
                // An edge knows one leader or another.
                let leaders: Vec<_> = self.leaders.values().rev().take(2).map(|leader| leader.at).collect();
                let to = leaders[self.chance.below(leaders.len() as u64) as usize];
                let asked = self.clock(node);
                self.send(node, to, Letter::Ask { from: node, asked });
            }
        }
        self.take_over();
        while self.leaders.len() > 4 {
            self.leaders.pop_first();
        }
    }

    fn take_over(&mut self) {
        let (at, now) = (self.leaders[&self.term].at, self.clock(self.leaders[&self.term].at));
        if self.chance.one_in(60) {
            let session = self.chance.below(SESSIONS as u64) as usize;
            let to = self.chance.below(NODES as u64) as usize;
            let (from, epoch) = self.owners[session];
            let leader = self.leaders.get_mut(&self.term).unwrap();
            if leader.takeovers.iter().all(|(of, ..)| *of != session) {
                let closing = leader.supporter.close(process(from as u64 + 1), now);
                leader.closed.entry(from).or_default().push((session, epoch));
                leader.takeovers.push((session, from, to, closing));
            }
        }
        let leader = self.leaders.get_mut(&self.term).unwrap();
        let without = self.without;
        let due = leader
            .takeovers
            .extract_if(.., |(.., closing)| now >= closing.free_at || without == Without::TheFence);
        for (session, _, to, _) in due.collect::<Vec<_>>() {
            // A record: only the newest term's leader gets it committed, and the edge hears of it.
            self.epochs += 1;
            self.granted += 1;
            self.owners[session] = (to, self.epochs);
            self.edges[to].open.insert(session, self.epochs);
        }
        for (term, leader) in &self.leaders {
            for (to, closed) in leader.closed.clone() {
                if self.chance.0 % 7 == 0 {
                    let letter = Letter::Closings { to, term: *term, closed };
                    self.letters += 1;
                    if !self.cut.contains(&(at, to)) {
                        self.mail.insert((self.now + 30, self.letters), (to, letter));
                    }
                }
            }
        }
    }

    fn hear(&mut self, node: usize, letter: Letter) {
        let now = self.clock(node);
        match letter {
            Letter::Proven { term, began } => {
                let began = if self.without == Without::TheBeginOfAProof { now } else { began };
                if let Some(leader) = self.leaders.get_mut(&term) {
                    leader.supporter.prove(began);
                }
            }
            Letter::Ask { from, asked } => {
                let answers: Vec<_> = self
                    .leaders
                    .iter_mut()
                    .filter(|(_, leader)| leader.at == node)
                    .map(|(term, leader)| {
                        let process = process(from as u64 + 1);
                        if self.without == Without::TheIntroduction {
                            leader.supporter.introduce(process, now);
                        }
                        (*term, leader.supporter.ask(process, now))
                    })
                    .collect();
                for (term, answer) in answers {
                    let letter = match answer {
                        Ok(support) => Letter::Supported { to: from, support, asked },
                        Err(Unsupported::Introduce) => Letter::IntroduceYourself { to: from, term },
                        Err(Unsupported::Unproven) => continue,
                    };
                    self.send(node, from, letter);
                }
            }
            Letter::IntroduceYourself { to, term } => {
                let Some(at) = self.leaders.get(&term).map(|leader| leader.at) else { return };
                let open = &self.edges[to].open;
                let connections = open.iter().map(|(session, epoch)| (*session, *epoch)).collect();
                self.send(to, at, Letter::Introduce { from: to, term, connections });
            }
            Letter::Introduce { from, term, connections } => {
                let Some(leader) = self.leaders.get_mut(&term).filter(|_| term == self.term) else { return };
                for (session, epoch) in connections {
                    if self.owners[session] != (from, epoch) {
                        leader.supporter.close(process(from as u64 + 1), now);
                        leader.closed.entry(from).or_default().push((session, epoch));
                    }
                }
                leader.supporter.introduce(process(from as u64 + 1), now);
            }
            Letter::Supported { to, support, asked } => {
                let asked = if self.without == Without::TheTimeOfAsking { now } else { asked };
                let closings = if self.without == Without::Closings { 0 } else { support.closings };
                self.edges[to].supported.take(SLOT, Support { closings, ..support }, asked);
            }
            Letter::Closings { to, term, closed } => {
                let edge = &mut self.edges[to];
                for (session, epoch) in &closed {
                    if edge.open.get(session) == Some(epoch) {
                        edge.open.remove(session);
                    }
                }
                edge.supported.closed(SLOT, Term(term), closed.len() as u64);
                let (number, at) = (closed.len() as u64, self.leaders.get(&term).map(|leader| leader.at));
                if let Some(at) = at {
                    self.send(to, at, Letter::Closed { from: to, term, number });
                }
            }
            Letter::Closed { from, term, number } => {
                if let Some(leader) = self.leaders.get_mut(&term) {
                    for (_, at, _, closing) in &mut leader.takeovers {
                        if *at == from && closing.number <= number {
                            closing.free_at = 0;
                        }
                    }
                }
            }
        }
    }

    /// No process could acknowledge for a Session that was granted to another.
    fn check(&mut self) -> Result<(), String> {
        for node in 0..NODES {
            if !self.edges[node].supported.holds(SLOT, self.clock(node)) {
                continue;
            }
            for (session, epoch) in &self.edges[node].open {
                self.acknowledged += 1;
                if self.owners[*session] != (node, *epoch) {
                    let (owner, now) = (self.owners[*session], self.now);
                    return Err(format!(
                        "at {now} ms node {node} acknowledges for Session {session}, which is {owner:?}'s"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn run(seed: u64, without: Without) -> Result<(u64, u64), String> {
    let mut fleet = Fleet::new(seed, without);
    fleet.run(120_000).map_err(|fault| format!("seed {seed}: {fault}"))?;
    Ok((fleet.granted, fleet.acknowledged))
}

#[test]
fn no_process_acknowledges_for_a_session_that_was_granted_to_another() {
    let (mut granted, mut acknowledged) = (0, 0);
    for seed in 0..200 {
        let (grants, moments) = run(seed, Without::Nothing).unwrap();
        granted += grants;
        acknowledged += moments;
    }
    // Much was going on meanwhile.
    assert!(
        granted > 10_000 && acknowledged > 100_000,
        "{granted} takeovers, {acknowledged} moments of support"
    );
}

#[test]
fn each_rule_is_missed_when_it_is_left_out() {
    use Without::*;
    for without in
        [TheFence, ThePredecessor, TheBeginOfAProof, Proofs, Closings, TheIntroduction, TheTimeOfAsking]
    {
        assert!((0..400).any(|seed| run(seed, without).is_err()), "nobody misses {without:?}");
    }
}
