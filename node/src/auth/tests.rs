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
    let (handle, mailbox) = mailbox();
    let supervisor = crate::boot::Supervisor::new();
    let watch = || supervisor.watch(crate::boot::TaskKind::Authentication);
    let auth = Auth::start(&options, Some(users(known)), &vec![handle].into(), watch).unwrap();
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
    // The one thread holds one of them and cannot go on; two wait.
    let _held = node.auth.state.settled.write().unwrap();
    let asked = ["1", "2", "3", "4"].map(|password| node.auth.ask(credentials("ann", password)));
    assert_eq!(
        (&asked[..2], &asked[3]),
        (&[None, None][..], &Some(Verdict::Refused(ReasonCode::ServerBusy)))
    );
}

#[test]
fn an_address_that_guesses_is_held_up() {
    let options = AuthOptions { failures_per_minute: 2, ..AuthOptions::default() };
    let mut node = node(options, &[("ann", "a")]);
    for guess in ["1", "2"] {
        assert_eq!(node.ask("ann", guess), (refused(), false));
    }
    let held_up = Verdict::Refused(ReasonCode::ConnectionRateExceeded);
    assert_eq!([node.ask("ann", "3"), node.ask("ann", "a")], [(held_up.clone(), true), (held_up, true)]);
}
