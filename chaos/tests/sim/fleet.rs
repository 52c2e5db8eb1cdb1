//! Who takes part in a simulated day: publishers and subscribers of all versions, levels and manners.

use convoy_chaos::oracle::Qos::{self, AtLeastOnce, ExactlyOnce};
use convoy_chaos::sim::client::{Character, Stay};
use convoy_chaos::sim::clock::{MILLISECOND, SECOND};
use convoy_wire::ProtocolVersion::{V5, V311};

/// Topics below this are also taken by the Shared Subscription.
pub const GROUP: &str = "job/";

const TOPICS: [&str; 4] = ["car/1/speed", "car/2/speed", "car/2/doors", "job/1"];

/// All of them, in a bad mood.
pub fn everybody() -> Vec<Character> {
    let mut all = calm();
    for character in &mut all {
        character.restless = match character.name.as_str() {
            // It sees all Wills only if it keeps its Subscription.
            "coroner" => 0,
            "mourner" | "widower" => 6,
            // Away for longer than its Will waits, by more than anybody takes to publish it.
            "orphan" => 3,
            "notary" => 0,
            _ => 25,
        };
    }
    all
}

/// All of them; nobody leaves.
pub fn calm() -> Vec<Character> {
    let mut all = vec![
        Character::new("truck", V5, Stay::Lasting).topics(&TOPICS),
        Character::new("lorry", V311, Stay::Lasting).topics(&TOPICS),
        Character::new("guest", V5, Stay::Clean).topics(&TOPICS),
        Character::new("clock", V5, Stay::Lasting).topics(&["tick/1", "tick/2"]),
        Character::new("sleeper", V311, Stay::Lasting).filters(&[("tick/#", ExactlyOnce)]),
        Character::new("desk", V5, Stay::Lasting).filters(&[("car/#", ExactlyOnce)]),
        Character::new("archive", V311, Stay::Lasting).filters(&[("#", ExactlyOnce)]),
        Character::new("odd", V5, Stay::Lasting).filters(&[
            ("+/2/doors", ExactlyOnce),
            ("car/1/+", AtLeastOnce),
            ("car/1/speed", ExactlyOnce),
        ]),
        Character::new("visitor", V311, Stay::Clean)
            .filters(&[("+/+/speed", ExactlyOnce), ("job/1", AtLeastOnce)]),
        Character::new("brief", V5, Stay::Seconds(3)).filters(&[("car/2/#", ExactlyOnce)]),
        Character::new("moody", V5, Stay::Moody)
            .filters(&[("car/1/#", ExactlyOnce)])
            .topics(&["car/2/doors"]),
        Character::new("coroner", V5, Stay::Lasting).filters(&[("will/#", ExactlyOnce)]),
        Character::new("mourner", V5, Stay::Lasting),
        Character::new("widower", V311, Stay::Clean),
        Character::new("orphan", V5, Stay::Lasting),
        Character::new("keeper", V5, Stay::Lasting),
        Character::new("reader", V5, Stay::Clean),
        Character::new("reader-3", V311, Stay::Clean),
    ];
    let own = |name: &str, version, stay, filter: &str, topic: &str| {
        let mut character =
            Character::new(name, version, stay).filters(&[(filter, ExactlyOnce)]).topics(&[topic]);
        (character.hurried, character.wavers) = (true, 6);
        character
    };
    all.push(own("echo", V5, Stay::Lasting, "own/echo/#", "own/echo/1"));
    all.push(own("echo-3", V311, Stay::Clean, "+/echo-3", "own/echo-3"));
    all.extend(curious());
    for member in ["ant", "bee", "cow"] {
        let version = if member == "cow" { V311 } else { V5 };
        let mut character =
            Character::new(member, version, Stay::Lasting).filters(&[("$share/farm/job/#", ExactlyOnce)]);
        character.shared = true;
        all.push(character);
    }
    for character in &mut all {
        let retained = ["state/1", "state/2/x"].map(String::from).to_vec();
        match character.name.as_str() {
            "keeper" => character.retains = retained,
            "reader" | "reader-3" => {
                character.reads = retained;
                character.pause = (20 * MILLISECOND, 200 * MILLISECOND);
            }
            "mourner" => {
                character.will = Some(1);
                character.away = (100 * MILLISECOND, 3 * SECOND);
                character.pause = (20 * MILLISECOND, 200 * MILLISECOND);
            }
            "orphan" => {
                character.will = Some(1);
                character.away = (5 * SECOND, 11 * SECOND);
                character.pause = (20 * MILLISECOND, 200 * MILLISECOND);
            }
            "widower" => {
                character.will = Some(0);
                character.greets = true;
                character.pause = (20 * MILLISECOND, 200 * MILLISECOND);
            }
            "clock" => character.hasty = true,
            "sleeper" => character.away = (100 * MILLISECOND, 6 * SECOND),
            "brief" => character.away = (100 * MILLISECOND, 6 * SECOND),
            "desk" => character.receive_maximum = Some(4),
            "odd" => character.receive_maximum = Some(1),
            _ => {}
        }
    }
    all
}

/// Somebody whose Retained Messages stand for a while, and those who come and go to see them.
pub fn curious() -> Vec<Character> {
    let mut notary = Character::new("notary", V5, Stay::Lasting);
    notary.retains = vec!["deed/1".into()];
    notary.pause = (100 * MILLISECOND, 400 * MILLISECOND);
    let mut all = vec![notary];
    for (name, version, stay, filter, qos) in [
        ("curious", V5, Stay::Clean, "deed/1", ExactlyOnce),
        ("curious-3", V311, Stay::Lasting, "deed/#", AtLeastOnce),
        ("nosy", V5, Stay::Lasting, "+/1", AtLeastOnce),
        ("nosy-3", V311, Stay::Clean, "deed/+", AtLeastOnce),
    ] {
        let mut character = Character::new(name, version, stay).filters(&[(filter, qos)]);
        character.wavers = 4;
        character.pause = (50 * MILLISECOND, 600 * MILLISECOND);
        all.push(character);
    }
    all
}

/// Those who come and go to see many values at once, of whose first level they say nothing, while these change.
pub fn staring() -> Vec<Character> {
    let mut all = Vec::new();
    for (name, stay) in [("clerk-1", Stay::Lasting), ("clerk-2", Stay::Clean), ("clerk-3", Stay::Lasting)] {
        let mut clerk = Character::new(name, V5, stay);
        clerk.retains = (0..40).map(|fact| format!("{name}/{fact}")).collect();
        clerk.pause = (5 * MILLISECOND, 20 * MILLISECOND);
        all.push(clerk);
    }
    for (name, version, stay) in
        [("starer", V5, Stay::Clean), ("starer-3", V311, Stay::Lasting), ("starer-5", V5, Stay::Lasting)]
    {
        let mut starer = Character::new(name, version, stay).filters(&[("+/+", AtLeastOnce)]);
        starer.wavers = 3;
        starer.pause = (50 * MILLISECOND, 600 * MILLISECOND);
        all.push(starer);
    }
    all
}

/// So few that every sync of their day can be cut.
pub fn few() -> Vec<Character> {
    let keep = ["truck", "lorry", "desk", "archive", "keeper", "coroner", "widower", "ant", "bee"];
    let mut all = everybody();
    all.retain(|character| keep.contains(&character.name.as_str()));
    all
}

/// Clients that stay, of whom 5.0 alone publishes: in 3.x a refusal ends the connection.
/// Nobody looks up Retained Messages: while applied state waits for room they are not read, and silence says nothing.
pub fn patient() -> Vec<Character> {
    let mut all = calm();
    all.retain(|character| character.name != "lorry" && character.reads.is_empty());
    all
}

/// All of them, who look for another node when theirs does not answer; some are more patient than others.
pub fn searching(mut all: Vec<Character>) -> Vec<Character> {
    for (place, character) in all.iter_mut().enumerate() {
        character.patience = (place % 5 > 0).then_some(700 * MILLISECOND * (place as u64 % 5));
    }
    all
}

/// Those who have no queue and stay, and those who publish by the log what they hear.
pub fn listening() -> Vec<Character> {
    let mut all = vec![Character::new("archive", V311, Stay::Lasting).filters(&[("#", ExactlyOnce)])];
    for (place, topic) in TOPICS[..3].iter().enumerate() {
        let mut writer = Character::new(&format!("writer-{place}"), [V5, V311][place % 2], Stay::Lasting);
        writer.topics = vec![(*topic).into(), "own/all".into()];
        writer.levels = vec![ExactlyOnce];
        writer.pause = (5 * MILLISECOND, 40 * MILLISECOND);
        all.push(writer);
    }
    for place in 0..6 {
        let filter = if place < 3 { TOPICS[place] } else { "own/#" };
        let version = [V5, V311][place % 2];
        let mut hearer = Character::new(&format!("listener-{place}"), version, Stay::Clean);
        hearer.filters = vec![(filter.into(), ExactlyOnce)];
        all.push(hearer);
    }
    all
}

/// Those who publish what few hear, and stay where they are; and those who come to hear more and more of it, and are soon
/// elsewhere.
pub fn strangers() -> Vec<Character> {
    let topics: Vec<String> = (0..60).map(|topic| format!("lone/{topic}")).collect();
    let mut all = Vec::new();
    for (place, version) in [V5, V311, V5, V311].into_iter().enumerate() {
        let mut caller = Character::new(&format!("caller-{place}"), version, Stay::Lasting);
        caller.topics = topics.clone();
        // What needs a record in any case would fill its window while nothing is recorded.
        caller.levels = if place < 3 { vec![AtLeastOnce] } else { Qos::ALL.to_vec() };
        caller.pause = (5 * MILLISECOND, 60 * MILLISECOND);
        all.push(caller);
        let stay = if place == 0 { Stay::Clean } else { Stay::Lasting };
        let mut hearer = Character::new(&format!("hearer-{place}"), version, stay);
        hearer.filters =
            topics[place * 15..][..15].iter().map(|topic| (topic.clone(), AtLeastOnce)).collect();
        hearer.hesitates = 6;
        hearer.pause = (20 * MILLISECOND, 300 * MILLISECOND);
        hearer.patience = Some(800 * MILLISECOND);
        all.push(hearer);
    }
    let mut keeper = Character::new("keeper", V5, Stay::Lasting);
    keeper.retains = vec!["state/1".into()];
    all.push(keeper);
    for (name, version) in [("reader", V5), ("reader-3", V311)] {
        let mut reader = Character::new(name, version, Stay::Clean);
        reader.reads = vec!["state/1".into()];
        reader.pause = (20 * MILLISECOND, 200 * MILLISECOND);
        reader.patience = Some(900 * MILLISECOND);
        all.push(reader);
    }
    all
}
