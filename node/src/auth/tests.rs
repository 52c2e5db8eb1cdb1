use super::*;
use crate::config::AuthOptions;
use crate::drive::{Event, Mailbox, mailbox};
use convoy_actors::Home;
use std::time::Duration;

struct Node {
    auth: Auth,
    mailbox: Mailbox,
}

fn users(of: &[(&str, &str)]) -> Users {
    let cheap = password::Cost { memory_kib: 64, iterations: 1 };
    let line = |(name, secret): &(&str, &str)| {
        format!("{name}:{}\n", password::hash(secret.as_bytes(), &[3; 16], cheap).unwrap())
    };
    Users::parse(&of.iter().map(line).collect::<String>()).unwrap()
}

fn node(options: AuthOptions, known: &[(&str, &str)]) -> Node {
    node_of(options, users(known))
}

fn node_of(options: AuthOptions, known: Users) -> Node {
    let (handle, mailbox) = mailbox();
    let supervisor = crate::boot::Supervisor::new();
    let watch = || supervisor.watch(crate::boot::TaskKind::Authentication);
    let auth = Auth::start(&options, Some(known), &vec![handle].into(), watch).unwrap();
    Node { auth, mailbox }
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        home: Home { node: 1, shard: 0, key: 7, serial: 9 },
        user: user.into(),
        password: password.into(),
        client_id: "c".into(),
        address: [10, 0, 0, 1].into(),
    }
}

impl Node {
    /// The verdict, and whether it was told at once.
    fn ask(&mut self, user: &str, password: &str) -> (Verdict, bool) {
        if let Some(verdict) = self.auth.ask(credentials(user, password)) {
            return (verdict, true);
        }
        match self.mailbox.blocking_recv() {
            Some(Event::Proven(home, verdict)) if home.serial == 9 => (verdict, false),
            _ => panic!("a shard is told verdicts and nothing else"),
        }
    }
}

fn granted(user: &str) -> Verdict {
    verdict(user, true)
}

fn refused() -> Verdict {
    verdict("", false)
}

#[test]
fn a_user_is_believed_by_its_password_alone() {
    let mut node = node(AuthOptions::default(), &[("ann", "a"), ("bob", "b")]);
    for (user, password, verdict) in [
        ("ann", "a", granted("ann")),
        ("bob", "a", refused()),
        ("ann", "", refused()),
        ("cat", "a", refused()),
        ("", "", refused()),
    ] {
        assert_eq!(node.ask(user, password), (verdict, false), "{user} {password}");
    }
}

#[test]
fn who_comes_back_is_told_at_once_until_the_users_change() {
    let mut node = node(AuthOptions::default(), &[("ann", "a")]);
    node.ask("ann", "a");
    node.ask("ann", "x");
    assert_eq!(node.ask("ann", "a"), (granted("ann"), true));
    assert_eq!(node.ask("ann", "x"), (refused(), true));
    let gone = node.auth.set_users(users(&[("ann", "x")]));
    assert_eq!(gone, BTreeSet::from(["ann".to_owned()]));
    assert_eq!(node.ask("ann", "a"), (refused(), false));
    assert_eq!(node.ask("ann", "x"), (granted("ann"), false));
    node.auth.set_users(users(&[]));
    assert_eq!(node.ask("ann", "x"), (refused(), false));
}

#[test]
fn a_cache_of_no_age_remembers_nothing() {
    let options = AuthOptions { cache_age: Duration::ZERO, ..AuthOptions::default() };
    let mut node = node(options, &[("ann", "a")]);
    assert_eq!(
        [node.ask("ann", "a"), node.ask("ann", "a")],
        [(granted("ann"), false), (granted("ann"), false)]
    );
}

#[test]
fn what_does_not_fit_the_queue_is_told_that_the_server_is_busy() {
    let options = AuthOptions { threads: 1, waiting: 2, ..AuthOptions::default() };
    let node = node(options, &[("ann", "a")]);
    // The threads hold one or two of them and cannot go on; two wait.
    let _held = node.auth.state.settled.write().unwrap();
    let mut asked = (0..1000).map(|password| node.auth.ask(credentials("ann", &password.to_string())));
    assert!(asked.any(|told| told == Some(Verdict::Refused(ReasonCode::ServerBusy))));
}

#[test]
fn a_drawn_password_does_not_wait_behind_those_who_guess() {
    let cost = password::Cost::default();
    let mut text = format!("ann:{}\n", password::hash(b"secret", &[3; 16], cost).unwrap());
    for car in 0..12 {
        text += &format!("car-{car}:{}\n", password::hash_drawn(b"drawn", &[car; 16]));
    }
    let mut node = node_of(AuthOptions::default(), Users::parse(&text).unwrap());
    for guess in 0..1500 {
        node.auth.ask(credentials("ann", &guess.to_string()));
    }
    let began = Instant::now();
    let mut let_in = std::collections::BTreeSet::new();
    for car in 0..12 {
        // Somebody who comes while a thread is at its thousandth guess may have to come again.
        while node.auth.ask(credentials(&format!("car-{car}"), "drawn")).is_some() {
            std::thread::yield_now();
        }
    }
    while let_in.len() < 12 {
        let Some(Event::Proven(_, told)) = node.mailbox.blocking_recv() else { panic!("it is gone") };
        if let Verdict::Granted(Principal { user: Some(user), .. }) = told {
            let_in.insert(user);
        }
    }
    // The guesses alone would take twenty seconds of two threads.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn who_guesses_is_slowed_and_nobody_else_is() {
    let options = AuthOptions { failures_per_minute: 2, ..AuthOptions::default() };
    let mut node = node(options, &[("ann", "a"), ("bob", "b")]);
    // Ann is known here, and bob at another address.
    assert_eq!(node.ask("ann", "a"), (granted("ann"), false));
    for guess in ["1", "2"] {
        assert_eq!(node.ask("bob", guess), (refused(), false));
    }
    assert_eq!(node.auth.ask(credentials("bob", "3")), None);
    let elsewhere = Credentials { address: [10, 0, 0, 2].into(), ..credentials("ann", "a") };
    // What is remembered is remembered wherever it comes from.
    assert_eq!(node.auth.ask(elsewhere), Some(granted("ann")));
    *locked(&node.auth.state.cache) = Cache::new(8, Duration::from_secs(600));
    assert_eq!(node.ask("ann", "a"), (granted("ann"), false));
    // Bob's third guess is not looked at.
    assert!(node.mailbox.try_recv().is_err());
}

#[test]
fn a_refusal_costs_the_same_whatever_is_wrong() {
    let cost = password::Cost { memory_kib: 8 << 10, iterations: 1 };
    let text = [
        format!("dear:{}\n", password::hash(b"x", &[3; 16], cost).unwrap()),
        format!("drawn:{}\n", password::hash_drawn(b"x", &[4; 16])),
        include_str!("mosquitto_passwd.txt").to_owned(),
    ];
    let users = Users::parse(&text.concat()).unwrap();
    let others = users.names().filter(|name| !["dear", "drawn"].contains(name));
    let names: Vec<&str> = others.chain(["dear", "drawn", "nobody"]).collect();
    // Of the thread alone, and by turns: others may be busy meanwhile, which makes a round dearer and never cheaper.
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = |time: rustix::time::Timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let mut least = vec![i64::MAX; names.len()];
    let are_alike =
        |spent: &[i64]| spent.iter().max() < spent.iter().min().map(|least| least * 3 / 2).as_ref();
    for _ in 0..100 {
        for (name, least) in names.iter().zip(&mut least) {
            let begun = now();
            assert!(!users.prove(name, b"y"));
            *least = (*least).min(nanos(now()) - nanos(begun));
        }
        if are_alike(&least) {
            return;
        }
    }
    panic!("{names:?} {least:?}");
}
