//! Proves: users and rules hold for Clients that nobody of this house wrote, from the users file over a running node to
//! mosquitto's clients, and change without a restart.

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use convoy_chaos::fault::{Lacking, skipped};
use convoy_chaos::fleet::{Node, Program, http};
use tempfile::TempDir;

/// How long a change of a file may take to hold.
const CHANGE: Duration = Duration::from_secs(20);

struct Story {
    node: Node,
    folder: TempDir,
    binary: PathBuf,
}

/// What a command said, and whether it succeeded.
fn said(output: &Output) -> (bool, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < CHANGE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Story {
    /// A node with two users, ann and bob, whose passwords are their names. `None` where something is lacking.
    async fn begin(test: &str, toml: &str) -> Option<Self> {
        if let Err(error) = Command::new("mosquitto_pub").arg("--help").output() {
            skipped(test, &Lacking { what: "mosquitto's clients", why: error.to_string() });
            return None;
        }
        let Program::Convoy(binary) = common::broker() else { return None };
        let folder = common::folder();
        let history = convoy_chaos::oracle::History::new();
        let node = Node::new(common::broker(), &folder.path().join("data"), folder.path(), &history)
            .expect("a folder and ports")
            .with_toml(toml);
        let mut story = Self { node, folder, binary };
        for name in ["ann", "bob"] {
            let (done, text) =
                said(&story.users(&["add", name, "--password-stdin", "--memory-kib", "64"], name));
            assert!(done, "{text}");
        }
        story.node.start().await.unwrap_or_else(|error| panic!("{error}"));
        Some(story)
    }

    /// `convoy ctl users`, with a password on its standard input.
    fn users(&self, args: &[&str], password: &str) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(["ctl", "users"]).args(args).arg("--data").arg(self.node.data());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker's binary runs");
        // Who does not read it has closed it.
        let _ = child.stdin.take().expect("it is piped").write_all(password.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    /// One of mosquitto's clients, as a user whose password is its name.
    fn mosquitto(&self, program: &str, user: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.node.mqtt().port().to_string()]);
        command.args(["-u", user, "-P", user]).args(args);
        command
    }

    fn publish(&self, user: &str, args: &[&str]) -> (bool, String) {
        said(&self.mosquitto("mosquitto_pub", user, args).output().expect("it runs"))
    }

    /// What one subscriber got in two seconds, of messages that are retained.
    fn retained(&self, user: &str, filter: &str) -> String {
        let output = self.mosquitto("mosquitto_sub", user, &["-t", filter, "-W", "2", "-v"]).output();
        said(&output.expect("it runs")).1
    }

    fn config(&self, toml: &str) {
        fs::write(self.folder.path().join("convoy.toml"), toml).expect("the folder can be written");
    }

    async fn metric(&self, line: &str) -> bool {
        let (_, text) = http::get(self.node.api(), "/metrics").await.expect("the node answers");
        text.lines().any(|found| found.starts_with(line))
    }
}

/// Long enough that no identifier which a Client draws by chance contains it.
const WRONG: &str = "a-password-of-nobody";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_prove_its_name_is_not_let_in() {
    let Some(story) = Story::begin("who_cannot_prove_its_name_is_not_let_in", "").await else { return };
    let port = story.node.mqtt().port().to_string();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let publish = |credentials: &[&str]| {
            let mut command = Command::new("mosquitto_pub");
            command.args(["-p", &port, "-V", version, "-t", "a", "-m", "x", "-q", "1"]).args(credentials);
            said(&command.output().expect("it runs"))
        };
        for _ in 0..2 {
            assert_eq!(publish(&["-u", "ann", "-P", "ann"]), (true, String::new()), "{version}");
        }
        for wrong in [&["-u", "ann", "-P", WRONG][..], &["-u", "cat", "-P", WRONG], &["-u", "ann"], &[]] {
            let (done, text) = publish(wrong);
            assert!(!done && text.to_lowercase().contains("connection error"), "{version} {wrong:?}: {text}");
        }
    }
    let log = story.node.stderr();
    assert!(log.contains("bad user name or password"), "{log}");
    assert!(!log.contains(WRONG), "a password is told: {log}");
    for line in ["granted", "granted_again", "refused"] {
        assert!(story.metric(&format!("convoy_authentications_total{{outcome=\"{line}\"}}")).await, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_change_while_the_node_runs_and_a_broken_file_changes_nothing() {
    let test = "users_change_while_the_node_runs_and_a_broken_file_changes_nothing";
    let Some(story) = Story::begin(test, "").await else { return };
    let hello = ["-t", "a", "-m", "x"];
    let mut connected = story.mosquitto("mosquitto_sub", "ann", &["-t", "a"]).spawn().expect("it runs");
    let mut other = story.mosquitto("mosquitto_sub", "bob", &["-t", "a"]).spawn().expect("it runs");
    let drawn = String::from_utf8(story.users(&["add", "car", "--generate"], "").stdout).expect("it is text");
    until("a new user is let in", || {
        let mut command = story.mosquitto("mosquitto_pub", "car", &hello);
        said(&command.args(["-P", drawn.trim()]).output().expect("it runs")).0
    });

    let file = story.node.data().join("users");
    let good = fs::read_to_string(&file).expect("the file is there");
    fs::write(&file, format!("{good}nonsense\n")).expect("the file can be written");
    until("the node says what is wrong", || story.node.stderr().contains("line 4: expected name:password"));
    assert!(story.publish("bob", &hello).0);
    let (done, text) = said(&story.users(&["check"], ""));
    assert!(!done && text.contains("line 4"), "{text}");
    fs::write(&file, good).expect("the file can be written");

    let (done, text) = said(&story.users(&["remove", "ann"], ""));
    assert!(done, "{text}");
    until("a user who is gone is disconnected", || story.node.stderr().contains("gone=1"));
    until("and is not let in", || !story.publish("ann", &hello).0);
    assert!(story.metric("convoy_connections_revoked_total 1").await);
    assert!(story.publish("bob", &hello).0);
    for client in [&mut connected, &mut other] {
        let _ = client.kill();
        let _ = client.wait();
    }
}

const RULES: &str = "
[[access.rule]]
effect = \"deny\"
action = \"subscribe\"
topic = \"fleet/secret\"
user = \"bob\"

[[access.rule]]
effect = \"allow\"
action = \"publish\"
topic = \"up/%u/%c\"

[[access.rule]]
effect = \"allow\"
action = \"all\"
topic = \"fleet/#\"
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_hold_for_publish_subscribe_and_retained_messages_and_change_at_once() {
    let test = "rules_hold_for_publish_subscribe_and_retained_messages_and_change_at_once";
    let Some(story) = Story::begin(test, RULES).await else { return };
    for topic in ["fleet/secret", "fleet/open"] {
        assert!(story.publish("ann", &["-V", "mqttv5", "-t", topic, "-m", topic, "-r", "-q", "1"]).0);
    }
    assert_eq!(story.retained("bob", "fleet/#").matches("fleet/").count(), 2, "topic and payload of one");
    assert!(story.retained("ann", "fleet/#").contains("fleet/secret"));
    // mosquitto's clients say what SUBACK and PUBACK said.
    let (_, text) = said(&story.mosquitto("mosquitto_sub", "ann", &["-t", "#", "-W", "2"]).output().unwrap());
    assert!(text.contains("denied"), "{text}");
    let publish = |client: &str, topic: &str| {
        story.publish("ann", &["-V", "mqttv5", "-i", client, "-t", topic, "-m", "x", "-q", "1"]).1
    };
    assert_eq!(publish("car", "up/ann/car"), "");
    for (client, topic) in
        [("car", "up/ann/bus"), ("car", "up/bob/car"), ("+", "up/ann/x"), ("car", "elsewhere")]
    {
        assert!(publish(client, topic).to_lowercase().contains("not authori"), "{client} {topic}");
    }

    story.config(&format!(
        "{RULES}[[access.rule]]\neffect = \"allow\"\naction = \"everything\"\ntopic = \"#\"\n"
    ));
    until("the node says what is wrong", || story.node.stderr().contains("access.rule.action"));
    assert!(!publish("car", "elsewhere").is_empty());
    story.config(&format!(
        "{RULES}[[access.rule]]\neffect = \"allow\"\naction = \"publish\"\ntopic = \"elsewhere\"\n"
    ));
    let pid = story.node.pid().expect("the node runs").to_string();
    assert!(Command::new("sh").args(["-c", "kill -HUP $0", &pid]).status().expect("it runs").success());
    until("new rules hold", || publish("car", "elsewhere").is_empty());
    for action in ["publish", "subscribe", "receive"] {
        let line = format!("convoy_access_denied_total{{action=\"{action}\"}}");
        assert!(story.metric(&line).await, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retained_is_served_as_long_as_its_publisher_may_publish_it() {
    let test = "what_is_retained_is_served_as_long_as_its_publisher_may_publish_it";
    let may_publish = |users: &[&str]| {
        let rule = |user: &&str| {
            format!(
                "[[access.rule]]\neffect = \"allow\"\naction = \"publish\"\ntopic = \"#\"\nuser = \"{user}\"\n"
            )
        };
        let reads = "[[access.rule]]\neffect = \"allow\"\naction = \"subscribe\"\ntopic = \"#\"\n";
        users.iter().map(rule).collect::<String>() + reads
    };
    let Some(mut story) = Story::begin(test, &may_publish(&["ann", "bob"])).await else { return };
    for user in ["ann", "bob"] {
        let text = format!("of {user}");
        assert!(story.publish(user, &["-t", &format!("k/{user}"), "-m", &text, "-r", "-q", "1"]).0);
    }
    let both = "k/ann of ann\nk/bob of bob\n";
    let found = |story: &Story| {
        let mut lines: Vec<_> =
            story.retained("bob", "k/#").lines().map(|line| format!("{line}\n")).collect();
        lines.retain(|line| line.starts_with("k/"));
        lines.sort();
        lines.concat()
    };
    assert_eq!(found(&story), both);
    let reload = |story: &Story, toml: &str| {
        story.config(toml);
        let pid = story.node.pid().expect("the node runs").to_string();
        assert!(Command::new("sh").args(["-c", "kill -HUP $0", &pid]).status().expect("it runs").success());
    };
    reload(&story, &may_publish(&["bob"]));
    until("what ann retained is not served", || found(&story) == "k/bob of bob\n");
    assert!(story.metric("convoy_access_denied_total{action=\"retained\"}").await);
    story.node.kill().await;
    story.node.start().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found(&story), both, "it is there still, and a start goes by the first rules");
    reload(&story, &may_publish(&["bob"]));
    until("nor after a restart", || found(&story) == "k/bob of bob\n");
    reload(&story, &format!("[access]\ncheck_retain_source = false\n{}", may_publish(&["bob"])));
    until("nobody asks who published", || found(&story) == both);
    reload(&story, &may_publish(&["bob", "ann"]));
    assert_eq!(found(&story), both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_holds_is_told_against_what_it_may() {
    let test = "what_a_user_holds_is_told_against_what_it_may";
    let toml =
        "[limits]\nsessions_per_user = 2\nwill_bytes_per_user = 1000\nretained_messages_per_user = 7\n";
    let Some(story) = Story::begin(test, toml).await else { return };
    let ctl = |args: &[&str]| {
        let mut command = Command::new(&story.binary);
        command.arg("ctl").args(args).args(["--api", &story.node.api().to_string()]);
        said(&command.arg("--data").arg(story.node.data()).output().expect("it runs"))
    };
    let lasting = |client: &str, more: &[&str]| {
        let args = ["-V", "mqttv5", "-i", client, "-c", "-x", "3600", "-q", "1", "-t", "w", "-E"];
        said(&story.mosquitto("mosquitto_sub", "ann", &[&args[..], more].concat()).output().expect("it runs"))
    };
    assert!(lasting("a1", &[]).0 && lasting("a2", &[]).0);
    // Shards tell each other ten times a second.
    std::thread::sleep(Duration::from_millis(500));
    let (done, text) = lasting("a3", &[]);
    assert!(!done && text.to_lowercase().contains("quota"), "{text}");
    let (done, text) = lasting("a2", &["--will-topic", "t", "--will-payload", &"w".repeat(2000)]);
    assert!(!done && text.to_lowercase().contains("quota"), "{text}");
    assert!(story.publish("ann", &["-t", "k", "-m", "kept", "-r", "-q", "1"]).0);
    assert!(story.publish("bob", &["-t", "w", "-m", "waits", "-q", "1"]).0);
    let row = |what: &str, text: &str| {
        let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{text}"));
        let numbers = line.split_whitespace().skip(1).map(|number| number.parse().expect("a number"));
        numbers.collect::<Vec<u64>>()
    };
    let (done, text) = ctl(&["stored", "ann"]);
    assert!(done, "{text}");
    assert_eq!(row("sessions", &text), [2, 2]);
    assert_eq!(row("retained_messages", &text), [1, 7]);
    assert_eq!(row("will_bytes", &text), [0, 1000]);
    let waits = row("stored_bytes", &text)[0];
    assert!((2 * 5..1000).contains(&waits), "{text}");
    let (_, json) = ctl(&["stored", "ann", "--json"]);
    assert!(json.contains("\"user\":\"ann\"") && json.contains("\"sessions\":2"), "{json}");
    for nobody in [&["stored"][..], &["stored", "bob"], &["stored", "no such user"]] {
        let (done, text) = ctl(nobody);
        assert!(done && row("sessions", &text) == [0, 2] && row("stored_bytes", &text)[0] == 0, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_banned_stays_out_over_a_restart_and_nobody_else_does() {
    let test = "who_is_banned_stays_out_over_a_restart_and_nobody_else_does";
    let Some(mut story) = Story::begin(test, "[[ban]]\nclient = \"old-*\"\n").await else { return };
    let api = story.node.api().to_string();
    let (binary, data) = (story.binary.clone(), story.node.data().to_owned());
    let ctl = |args: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("ctl").args(args).args(["--api", &api]).arg("--data").arg(&data);
        said(&command.output().expect("it runs"))
    };
    let publish = |story: &Story, client: &str| {
        story.publish("ann", &["-V", "mqttv5", "-i", client, "-t", "a", "-m", "x", "-q", "1"])
    };
    let mut stolen = story.mosquitto("mosquitto_sub", "ann", &["-V", "mqttv5", "-i", "car-7", "-t", "a"]);
    let mut stolen = stolen.stderr(Stdio::piped()).spawn().expect("it runs");
    until("it is connected", || ctl(&["clients", "car-7"]).0);
    let ban = ["ban", "add", "--client", "car-7", "--reason", "stolen", "--for", "1h"];
    let (done, text) = ctl(&[&ban[..], &["--dry-run"]].concat());
    assert!(done && text.contains("1 Clients would be disconnected"), "{text}");
    assert!(!ctl(&["ban", "list"]).1.contains("stolen"));
    let (done, text) = ctl(&ban);
    assert!(done && text.contains("ban 1: 1 Clients were disconnected"), "{text}");
    assert!(!ctl(&["ban", "add", "--reason", "nobody"]).0);
    story.node.kill().await;
    story.node.start().await.unwrap_or_else(|error| panic!("{error}"));
    let _ = stolen.kill();
    let _ = stolen.wait();
    for (client, is_in) in [("car-7", false), ("old-1", false), ("car-8", true)] {
        let (done, text) = publish(&story, client);
        assert_eq!(done, is_in, "{client}: {text}");
        assert!(is_in || text.to_lowercase().contains("banned"), "{client}: {text}");
    }
    let (_, text) = ctl(&["ban", "list"]);
    assert!(text.contains("old-*") && text.contains("stolen"), "{text}");
    assert!(ctl(&["ban", "remove", "1"]).0 && !ctl(&["ban", "remove", "1"]).0);
    assert!(publish(&story, "car-7").0);

    // What other rules would do is said before they do it.
    let draft = story.folder.path().join("draft.toml");
    let deny = "[[access.rule]]\neffect = \"deny\"\naction = \"connect\"\nclient = \"car-7\"\n";
    fs::write(&draft, deny).expect("the folder can be written");
    let mut other = story.mosquitto("mosquitto_sub", "bob", &["-i", "car-9", "-t", "a"]).spawn().unwrap();
    until("it is connected", || ctl(&["clients", "car-9"]).0);
    let (done, text) = ctl(&["preview", draft.to_str().expect("it is text")]);
    assert!(done && text.contains("nobody may connect") && text.contains("1 Clients would"), "{text}");
    assert!(other.try_wait().expect("it is ours").is_none());
    let _ = other.kill();
    let _ = other.wait();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_over_the_session_of_another_user() {
    // CVE-2026-6564
    let test = "nobody_takes_over_the_session_of_another_user";
    let Some(mut story) = Story::begin(test, "").await else { return };
    let lasting = ["-i", "car", "-c", "-q", "1", "-t", "cmd/car"];
    let (done, text) = said(&story.mosquitto("mosquitto_sub", "ann", &lasting).arg("-E").output().unwrap());
    assert!(done, "{text}");
    assert!(story.publish("bob", &["-t", "cmd/car", "-m", "unlock", "-q", "1"]).0);
    story.node.kill().await;
    story.node.start().await.unwrap_or_else(|error| panic!("{error}"));
    for version in ["mqttv311", "mqttv5"] {
        let mut theirs = story.mosquitto("mosquitto_sub", "bob", &lasting);
        let (_, text) = said(&theirs.args(["-V", version, "-W", "2"]).output().unwrap());
        assert!(text.to_lowercase().contains("not authori") && !text.contains("unlock"), "{version}: {text}");
        // Clean Session would wipe what waits.
        assert!(!story.publish("bob", &["-V", version, "-i", "car", "-t", "a", "-m", "x"]).0);
    }
    let mut mine = story.mosquitto("mosquitto_sub", "ann", &lasting);
    assert_eq!(said(&mine.args(["-C", "1", "-W", "10"]).output().unwrap()), (true, "unlock\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_file_of_mosquitto_is_a_users_file() {
    let test = "a_password_file_of_mosquitto_is_a_users_file";
    if let Err(error) = Command::new("mosquitto_passwd").output() {
        return skipped(test, &Lacking { what: "mosquitto_passwd", why: error.to_string() });
    }
    let folder = common::folder();
    let file = folder.path().join("passwd");
    fs::write(&file, "").expect("the folder can be written");
    let made = Command::new("mosquitto_passwd").arg("-b").arg(&file).args(["dan", "dan"]).output();
    assert!(made.expect("it runs").status.success());
    let toml = format!("[auth]\nusers = {file:?}\n");
    let Some(story) = Story::begin(test, &toml).await else { return };
    assert!(story.publish("dan", &["-t", "a", "-m", "x"]).0);
    assert!(!story.publish("ann", &["-t", "a", "-m", "x"]).0);
}
