//! Senders of two processes and a slot of three replicas, whose log is taken as agreed: what is on it is applied by all, in its
//! order. Everything else goes wrong: letters are lost, come late, twice and in another order, leaders change and go on
//! without knowing it, what they proposed comes to nothing, replicas begin again from rows, places and processes end.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;

const REPLICAS: usize = 3;
const SENDERS: usize = 5;
const WINDOW: Window = Window { calls: 8, bytes: 400, resend: 150, resend_most: 600 };
const LIMITS: Limits = Limits { streams: 5, results: 8, result_bytes: 1_000 };
/// After that nothing goes wrong any more, and all calls are to be done.
const QUIET: u64 = 20_000;
const END: u64 = 30_000;
const STEP: u64 = 10;

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), 11);
        self.0 % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

#[derive(Clone, Debug)]
enum Record {
    Take { source: Source, number: u64, first: u64, call: Option<u64>, is_refused: bool },
    Forget(Source),
    ForgetProcess(Process),
}

enum Letter {
    Call { to: usize, source: Source, call: Call<u64> },
    Answer { from: usize, source: Source, answer: Answer },
}

struct Replica {
    receiver: Receiver,
    applied: usize,
    /// Rows as they are on disk, and how much of the log they have.
    disk: (usize, Vec<(Key, Vec<u8>)>),
    /// What it takes itself for: the leader of this term.
    leads: Option<(u64, Leading)>,
    down_until: u64,
}

/// One that sends, in one place after another.
struct Home {
    /// No two that ever were are alike.
    born: usize,
    source: Source,
    sender: Sender<u64>,
}

#[derive(Debug)]
struct Told {
    home: usize,
    deadline: u64,
    ended: Option<(u64, Ended)>,
    /// Its sender was closed, or its stream broke off.
    is_cut: bool,
    acted: u32,
}

struct World {
    chance: Chance,
    without: Without,
    now: u64,
    term: u64,
    leader: usize,
    replicas: Vec<Replica>,
    log: Vec<Record>,
    /// What the leader of the term has proposed, and when it is committed.
    proposed: Vec<(u64, Record)>,
    /// Homes that are no more, and when the slot hears of it.
    left: Vec<(u64, Source)>,
    starts: [u64; 2],
    places: BTreeMap<(u64, u16), u64>,
    homes: Vec<Home>,
    calls: Vec<Told>,
    /// The last call of each home that acted.
    acted_last: BTreeMap<usize, u64>,
    born: usize,
    disorder: Option<String>,
    letters: BTreeMap<(u64, u64), Letter>,
    sent: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, without: Without) -> Self {
        let mut receiver = Receiver::new(LIMITS);
        receiver.without = without;
        let replica = || Replica {
            receiver: receiver.clone(),
            applied: 0,
            disk: (0, Vec::new()),
            leads: None,
            down_until: 0,
        };
        let mut world = Self {
            chance: Chance(seed),
            without,
            now: 0,
            term: 0,
            leader: 0,
            replicas: (0..REPLICAS).map(|_| replica()).collect(),
            log: Vec::new(),
            proposed: Vec::new(),
            left: Vec::new(),
            starts: [1, 1],
            places: BTreeMap::new(),
            homes: Vec::new(),
            calls: Vec::new(),
            acted_last: BTreeMap::new(),
            born: 0,
            disorder: None,
            letters: BTreeMap::new(),
            sent: 0,
            counts: BTreeMap::new(),
        };
        (0..SENDERS).for_each(|at| world.open(at));
        world.elect(0);
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn place(&mut self, at: usize) -> Source {
        let (node_at, shard) = (at % 2, (at % 3 / 2) as u16);
        let place = self.places.entry((node_at as u64, shard)).or_default();
        *place += 1;
        let process = Process { node: node(101 + node_at as u64), start: self.starts[node_at] };
        Source { process, shard, place: *place }
    }

    /// A new home takes the place of one that is no more.
    fn open(&mut self, at: usize) {
        let mut sender = Sender::new(WINDOW);
        sender.without = self.without;
        self.born += 1;
        let home = Home { born: self.born, source: self.place(at), sender };
        match self.homes.get_mut(at) {
            Some(old) => *old = home,
            None => self.homes.push(home),
        }
    }

    fn elect(&mut self, at: usize) {
        // Some of what the last leader has proposed is committed all the same.
        let kept = self.chance.below(self.proposed.len() as u64 + 1) as usize;
        let kept: Vec<_> = self.proposed.drain(..).take(kept).map(|(_, record)| record).collect();
        self.log.extend(kept);
        (self.term, self.leader) = (self.term + 1, at);
        if self.without == Without::TheRecord {
            self.replicas[at].receiver.streams.clear();
        }
        self.apply(at, self.log.len());
        self.replicas[at].leads = Some((self.term, Leading::default()));
        self.count("elections");
    }

    fn mail(&mut self, letter: Letter) {
        let is_quiet = self.now >= QUIET;
        let copies = match self.chance.below(20) {
            _ if is_quiet => 1,
            0..3 => 0,
            3..5 => 2,
            _ => 1,
        };
        for copy in 0..copies {
            let late = if !is_quiet && self.chance.one_in(15) { self.chance.below(3_000) } else { 0 };
            let at = self.now + 5 + self.chance.below(40) + late;
            self.sent += 1;
            let letter = match (&letter, copy) {
                (Letter::Call { to, source, call }, _) => {
                    Letter::Call { to: *to, source: *source, call: *call }
                }
                (Letter::Answer { from, source, answer }, _) => {
                    Letter::Answer { from: *from, source: *source, answer: answer.clone() }
                }
            };
            self.letters.insert((at, self.sent), letter);
        }
    }

    /// Brings a replica up to a place in the log. The first to get there shows what acts.
    fn apply(&mut self, at: usize, to: usize) {
        for index in self.replicas[at].applied..to {
            let record = self.log[index].clone();
            let is_led_here = at == self.leader;
            let replica = &mut self.replicas[at];
            replica.applied = index + 1;
            match record {
                Record::Forget(source) => replica.receiver.forget(&source),
                Record::ForgetProcess(process) => replica.receiver.forget_process(process),
                Record::Take { source, number, first, call, is_refused } => {
                    let mut acted = false;
                    let reply = || match call {
                        None => Reply::Void,
                        Some(call) if is_refused => Reply::Refused(call.to_le_bytes().to_vec()),
                        Some(call) => {
                            acted = true;
                            Reply::Done(call.to_le_bytes().to_vec())
                        }
                    };
                    let verdict = replica.receiver.take(&source, number, first, reply);
                    let is_next = verdict == Verdict::Next;
                    let answer = replica.receiver.judge(&source, number).answer(number, 0);
                    if let Some((_, leading)) = &mut replica.leads {
                        leading.applied(&source, number, is_next);
                    }
                    if let (true, Some(call)) = (acted && index >= self.shown(), call) {
                        self.act(call);
                    }
                    if let Some(answer) = answer.filter(|answer| matches!(answer, Answer::Filled { .. }))
                        && is_led_here
                    {
                        self.mail(Letter::Answer { from: at, source, answer });
                    }
                }
            }
            let shown = self.shown().max(index + 1) as u64;
            self.counts.insert("records", shown);
        }
    }

    /// How much of the log has acted before anybody's eyes.
    fn shown(&self) -> usize {
        self.counts.get("records").copied().unwrap_or_default() as usize
    }

    fn act(&mut self, call: u64) {
        let told = &mut self.calls[call as usize];
        told.acted += 1;
        let last = self.acted_last.entry(told.home).or_default();
        if *last > call {
            self.disorder = Some(format!("call {call} acts behind {last}"));
        }
        *last = call.max(*last);
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        let is_quiet = self.now >= QUIET;
        if !is_quiet {
            self.misfortune();
        } else {
            let left = self.left.drain(..).map(|(_, source)| Record::Forget(source));
            self.log.extend(left);
        }
        if is_quiet && self.replicas[self.leader].leads.is_none() {
            self.replicas[self.leader].down_until = 0;
            self.elect(self.leader);
        }
        while let Some(((at, number), letter)) = self.letters.pop_first() {
            if at > self.now {
                self.letters.insert((at, number), letter);
                break;
            }
            match letter {
                Letter::Call { to, source, call } => self.called(to, source, call),
                Letter::Answer { from, source, answer } => self.answered(from, source, answer)?,
            }
        }
        let due = self.proposed.iter().take_while(|(at, _)| *at <= self.now).count();
        self.log.extend(self.proposed.drain(..due).map(|(_, record)| record));
        for at in 0..REPLICAS {
            if self.replicas[at].down_until <= self.now && (at == self.leader || self.chance.one_in(5)) {
                self.apply(at, self.log.len());
                if self.chance.one_in(10) {
                    let replica = &mut self.replicas[at];
                    replica.disk = (replica.applied, replica.receiver.rows().collect());
                }
            }
        }
        self.senders()?;
        self.check()
    }

    fn misfortune(&mut self) {
        let now = self.now;
        let heard: Vec<_> = self.left.extract_if(.., |(at, _)| *at <= now).collect();
        self.log.extend(heard.into_iter().map(|(_, source)| Record::Forget(source)));
        if self.chance.one_in(60) || self.replicas[self.leader].down_until > self.now {
            let up: Vec<_> = (0..REPLICAS).filter(|at| self.replicas[*at].down_until <= self.now).collect();
            if !up.is_empty() && self.chance.one_in(10) {
                let at = up[self.chance.below(up.len() as u64) as usize];
                self.elect(at);
            }
        }
        if self.chance.one_in(150) {
            self.crash();
        }
        // A deposed leader hears of it at last.
        for at in 0..REPLICAS {
            if at != self.leader && self.chance.one_in(60) {
                self.replicas[at].leads = None;
            }
        }
        if self.chance.one_in(200) {
            let at = self.chance.below(SENDERS as u64) as usize;
            self.leave(at);
        }
        if self.chance.one_in(800) {
            let node_at = self.chance.below(2) as usize;
            let process = Process { node: node(101 + node_at as u64), start: self.starts[node_at] };
            self.log.push(Record::ForgetProcess(process));
            // Of half of them the process lives and hears of it; the others begin again.
            if self.chance.one_in(2) {
                self.starts[node_at] += 1;
                self.places.retain(|(node, _), _| *node != node_at as u64);
                (0..SENDERS).filter(|at| at % 2 == node_at).for_each(|at| {
                    self.cut(at);
                    self.open(at);
                });
            }
        }
    }

    fn crash(&mut self) {
        let at = self.chance.below(REPLICAS as u64) as usize;
        let down = self.chance.below(1_500);
        let replica = &mut self.replicas[at];
        let rows = replica.disk.1.iter().map(|(key, value)| (&key[..], &value[..]));
        let mut receiver = Receiver::recover(LIMITS, rows).expect("they were written here");
        receiver.without = self.without;
        (replica.receiver, replica.applied, replica.leads) = (receiver, replica.disk.0, None);
        replica.down_until = self.now + down;
        if at == self.leader {
            // What it had not committed is lost with it, or is not: the next election tells.
            self.replicas[at].down_until = self.now + down.max(200);
        }
        self.count("crashes");
    }

    /// A home ends by itself, and the slot hears of it by a record.
    fn leave(&mut self, at: usize) {
        let source = self.homes[at].source;
        self.cut(at);
        // It takes a while until the slot hears of it.
        let most = if self.chance.one_in(2) { 50 } else { 3_000 };
        let heard_at = self.now + self.chance.below(most);
        self.left.push((heard_at, source));
        self.open(at);
        self.count("homes that left");
    }

    fn cut(&mut self, at: usize) {
        let mut ended = Vec::new();
        self.homes[at].sender.close(&mut ended);
        for (call, how) in ended {
            self.calls[call as usize].is_cut = true;
            if let Err(fault) = self.tell(call, how) {
                self.disorder = Some(fault);
            }
        }
    }

    fn propose(&mut self, record: Record) {
        let at = self.now + 10 + self.chance.below(60);
        let at = self.proposed.last().map_or(at, |(last, _)| at.max(*last));
        self.proposed.push((at, record));
    }

    fn called(&mut self, at: usize, source: Source, call: Call<u64>) {
        if self.replicas[at].down_until > self.now {
            return;
        }
        let Call { number, first, round, content } = call;
        let (term, leader) = (self.term, self.leader);
        let replica = &mut self.replicas[at];
        let Some((led, leading)) = &mut replica.leads else {
            let leader = (!self.chance.one_in(3)).then(|| node(leader as u64 + 1));
            let answer = Answer::NotLeader { term: Term(term), leader };
            return self.mail(Letter::Answer { from: at, source, answer });
        };
        match leading.look(&replica.receiver, &source, number) {
            Look::Propose if *led == term => {
                let is_refused = content.is_some() && self.chance.one_in(8);
                self.propose(Record::Take { source, number, first, call: content, is_refused });
            }
            // A deposed leader proposes in vain.
            Look::Propose | Look::UnderWay => {}
            Look::Answered(verdict) => {
                let answer = verdict.answer(number, round).expect("it is not the next one");
                self.mail(Letter::Answer { from: at, source, answer });
            }
        }
    }

    fn answered(&mut self, from: usize, source: Source, answer: Answer) -> Result<(), String> {
        let Some(at) = self.homes.iter().position(|home| home.source == source) else { return Ok(()) };
        let what = match &answer {
            Answer::Filled { reply: Reply::Void, .. } => "void numbers",
            Answer::Filled { .. } => "results",
            Answer::Forgotten { .. } => "forgotten results",
            Answer::Expected { .. } => "gaps",
            Answer::NotLeader { .. } => "wrong nodes",
            Answer::Full => "full slots",
            Answer::Skipped => "skipped places",
            Answer::Gone => "processes that were over",
        };
        self.count(what);
        let mut ended = Vec::new();
        let home = &mut self.homes[at];
        home.sender.on_answer(node(from as u64 + 1), answer, self.now, &mut ended);
        let is_over = home.sender.is_over();
        for (call, how) in ended {
            self.calls[call as usize].is_cut |= is_over;
            self.tell(call, how)?;
        }
        if is_over && what == "processes that were over" {
            // The process lives, and so it learns that it was given up: it begins anew as another start.
            let node_at = at % 2;
            if self.homes[at].source.process.start == self.starts[node_at] {
                self.starts[node_at] += 1;
                self.places.retain(|(node, _), _| *node != node_at as u64);
            }
            (0..SENDERS).filter(|at| at % 2 == node_at).for_each(|at| {
                self.cut(at);
                self.open(at);
            });
        } else if is_over {
            let source = self.place(at);
            self.homes[at].source = source;
            self.homes[at].sender.restart();
        }
        Ok(())
    }

    fn tell(&mut self, call: u64, how: Ended) -> Result<(), String> {
        let told = &mut self.calls[call as usize];
        if let Some(before) = &told.ended {
            return Err(format!("call {call} ends as {how:?} after {before:?}"));
        }
        let body = match &how {
            Ended::Done(body) | Ended::Refused(body) => Some(body),
            _ => None,
        };
        if body.is_some_and(|body| body[..] != call.to_le_bytes()) {
            return Err(format!("call {call} has the result of another: {how:?}"));
        }
        if how == Ended::Unknown && !told.is_cut && self.now < told.deadline {
            return Err(format!("call {call} is unknown before its time at {}", told.deadline));
        }
        let kind = match &how {
            Ended::Done(_) => "done",
            Ended::Refused(_) => "refused",
            Ended::Unknown => "unknown",
            Ended::NotSent => "not sent",
        };
        told.ended = Some((self.now, how));
        self.count(kind);
        Ok(())
    }

    fn senders(&mut self) -> Result<(), String> {
        let is_quiet = self.now >= QUIET;
        for at in 0..SENDERS {
            if self.chance.one_in(if is_quiet { 20 } else { 6 }) {
                let lasts = if is_quiet { 8_000 } else { 50 + self.chance.below(2_500) };
                let deadline = self.now + lasts;
                let call = self.calls.len() as u64;
                let is_last = self.now > END - 2_000;
                if !is_last && self.homes[at].sender.push(call, deadline, 90, call).is_ok() {
                    let home = self.homes[at].born;
                    self.calls.push(Told { home, deadline, ended: None, is_cut: false, acted: 0 });
                }
            }
            if self.chance.one_in(40) {
                let is_known = is_quiet || !self.chance.one_in(4);
                let leader = is_known.then(|| node(self.leader as u64 + 1));
                self.homes[at].sender.on_leader(Term(self.term), leader);
            }
            let mut ended = Vec::new();
            let home = &mut self.homes[at];
            if home.sender.next_deadline().is_some_and(|due| due <= self.now) {
                home.sender.on_time(self.now, &mut ended);
            }
            for (call, how) in ended {
                self.tell(call, how)?;
            }
            while let Some((to, call)) = self.homes[at].sender.next_letter(self.now) {
                let call = Call {
                    number: call.number,
                    first: call.first,
                    round: call.round,
                    content: call.content.copied(),
                };
                let source = self.homes[at].source;
                self.mail(Letter::Call { to: to.get() as usize - 1, source, call });
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        if let Some(disorder) = self.disorder.take() {
            return Err(disorder);
        }
        for home in &self.homes {
            let (calls, bytes) = home.sender.waiting();
            if calls > WINDOW.calls || bytes > WINDOW.bytes {
                return Err(format!("a sender holds {calls} calls of {bytes} bytes"));
            }
        }
        for replica in &self.replicas {
            let (streams, results) = replica.receiver.held();
            if streams > LIMITS.streams || results > LIMITS.results {
                return Err(format!("a slot holds {streams} streams and {results} results"));
            }
        }
        Ok(())
    }

    /// What can be said at the end.
    fn judge(&mut self) -> Result<(), String> {
        for at in 0..REPLICAS {
            self.apply(at, self.log.len());
            let rows = |at: usize| self.replicas[at].receiver.rows().collect::<Vec<_>>();
            if rows(at) != rows(0) {
                return Err(format!("replica {at} has come to another state"));
            }
        }
        let mut late = 0;
        for (call, told) in self.calls.iter().enumerate() {
            let (what, acted) = (&told.ended, told.acted);
            let Some((when, ended)) = what else { return Err(format!("call {call} has no end: {told:?}")) };
            if *when > told.deadline + STEP {
                return Err(format!("call {call} ends at {when}: {told:?}"));
            }
            let is_true = match ended {
                Ended::Done(_) => acted == 1,
                Ended::Refused(_) | Ended::NotSent => acted == 0,
                Ended::Unknown => acted <= 1,
            };
            if !is_true {
                return Err(format!("call {call} acted {acted} times: {told:?}"));
            }
            // Only a process that was given up before, and hears of it now, has calls that end with it.
            let is_late = told.deadline > QUIET + 8_500 && !told.is_cut;
            if is_late && !matches!(ended, Ended::Done(_) | Ended::Refused(_)) {
                return Err(format!("call {call} is not done although all is well: {told:?}"));
            }
            late += u64::from(is_late);
        }
        self.counts.insert("done when all is well", late);
        Ok(())
    }
}

fn run(seed: u64, without: Without) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut world = World::new(seed, without);
    let all = |world: &mut World| {
        while world.now < END {
            world.step()?;
        }
        world.judge()
    };
    all(&mut world).map_err(|fault| format!("seed {seed} at {} ms: {fault}", world.now))?;
    Ok(world.counts)
}

#[test]
fn each_call_ends_once_and_acts_once_at_most_and_in_its_order() {
    let mut counts = BTreeMap::new();
    for seed in 0..150 {
        for (what, count) in run(seed, Without::Nothing).unwrap() {
            *counts.entry(what).or_insert(0) += count;
        }
    }
    println!("{counts:#?}");
    // Much was going on meanwhile.
    let much = |what: &str| counts.get(what).copied().unwrap_or_default();
    for what in [
        "done",
        "refused",
        "unknown",
        "not sent",
        "void numbers",
        "gaps",
        "elections",
        "crashes",
        "done when all is well",
    ] {
        assert!(much(what) > 1_000, "{what}: {}", much(what));
    }
    for what in ["wrong nodes", "full slots", "skipped places", "processes that were over"] {
        assert!(much(what) > 50, "{what}: {}", much(what));
    }
}

#[test]
fn one_seed_makes_one_history() {
    assert_eq!(run(7, Without::Nothing), run(7, Without::Nothing));
}

#[test]
fn each_rule_is_missed_when_it_is_left_out() {
    use Without::*;
    for without in [
        TheOrderOfRetries,
        TheNextNumberOnly,
        OlderResults,
        TheEndAtADeadline,
        Voids,
        TheRecord,
        ThePast,
        TheLookAtApply,
        OutcomesByNumber,
        TheDeposed,
    ] {
        let fault = (0..150).find_map(|seed| run(seed, without).err());
        println!("{without:?}: {fault:?}");
        assert!(fault.is_some(), "nobody misses {without:?}");
    }
}
