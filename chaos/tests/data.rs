//! Proves: a damaged data folder is checked without a change to it, and what can be read of it becomes a folder that a
//! node starts on, whose Clients go on with their Sessions.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use convoy_chaos::client::Client;
use convoy_chaos::fault::damage;
use convoy_chaos::fleet::{Node, Program};
use convoy_chaos::oracle::{History, Qos, Retain, Terms};
use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

const MESSAGES: u64 = 400;

fn data(arguments: &[&str]) -> Output {
    let Program::Convoy(program) = common::broker() else { panic!("this is a story of convoy") };
    Command::new(program).arg("data").args(arguments).output().expect("it can be run")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Names and contents of all files.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("it can be read");
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file"))
    };
    std::fs::read_dir(folder).expect("a folder").map(read).collect()
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn client(name: &str, node: &Node, history: &History) -> Client {
    Client::new(name, ProtocolVersion::V5, node.mqtt(), history).with_payload_bytes(4000)
}

fn vans() -> impl Iterator<Item = String> {
    (0..20).map(|at| format!("van-{at}"))
}

/// A node that keeps messages for each of the vans, and Retained Messages.
async fn filled(old: &Path, aside: &Path) -> Node {
    let history = History::new();
    let mut node = Node::new(common::broker(), old, aside, &history)
        .expect("a folder and ports")
        .with_setting("CONVOY_STORAGE__WRITE_BUFFER_BYTES", &(1 << 20).to_string());
    node.start().await.expect("it starts");
    for van in vans() {
        let mut van = client(&van, &node, &history);
        van.connect(Terms::lasting()).await.expect("it is let in");
        van.subscribe("cmd/#", Qos::AtLeastOnce).await.expect("it may");
        van.disconnect().await;
    }
    let mut desk = client("desk", &node, &history);
    desk.connect(Terms::lasting()).await.expect("it is let in");
    for _ in 0..MESSAGES {
        desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await.expect("it may");
    }
    for at in 0..20 {
        desk.publish(&format!("door/{at}"), Qos::AtLeastOnce, Retain::Set).await.expect("it may");
    }
    assert!(desk.settle(soon(60)).await.expect("it is connected"), "publishes were not answered");
    desk.disconnect().await;
    node
}

/// Starts a node on what was salvaged. Sessions that are present, and messages that were delivered to them.
async fn resumed(new: &Path, aside: &Path, list: &str) -> (u64, u64) {
    let history = History::new();
    let mut node = Node::new(common::broker(), new, aside, &history).expect("a folder and ports");
    node.start().await.unwrap_or_else(|error| panic!("{error}: {list}"));
    let (mut present, mut delivered) = (0, 0);
    for van in vans() {
        let mut van = client(&van, &node, &history);
        present += u64::from(van.connect(Terms::lasting()).await.expect("it is let in"));
        while van.step(Instant::now() + Duration::from_millis(400)).await.expect("it stays") {}
        delivered += van.delivered_count();
    }
    println!("{present} of 20 Sessions resumed, {delivered} of {} messages delivered", 20 * MESSAGES);
    let mut desk = client("desk", &node, &history);
    desk.connect(Terms::lasting()).await.expect("it is let in");
    for _ in 0..50 {
        desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await.expect("it may");
    }
    assert!(desk.settle(soon(20)).await.expect("it is connected"), "publishes are not answered");
    assert!(node.is_ready().await, "{}", node.stderr());
    (present, delivered)
}

/// Salvages into a new folder, which is whole then: the list of what was lost.
fn salvaged(from: &str, to: &Path) -> String {
    let to = to.display().to_string();
    let output = data(&["salvage", "--from", from, "--to", &to]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    println!("{}", said(&output));
    let list = std::fs::read_to_string(format!("{to}/SALVAGE.txt")).expect("the list is there");
    assert!(list.lines().count() > 1, "{list}");
    assert_eq!(data(&["check", "--data", &to]).status.code(), Some(0), "{list}");
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_of_a_damaged_folder_is_salvaged() {
    let folder = common::folder();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let mut node = filled(&old, folder.path()).await;

    // Of a folder in use nothing is said, and nothing is made.
    let (path, to) = (old.display().to_string(), new.display().to_string());
    for arguments in [&["check", "--data", &path][..], &["salvage", "--from", &path, "--to", &to]] {
        let output = data(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("in use"), "{}", said(&output));
    }
    assert!(!new.exists());
    damage::quiet(&old).await.expect("a folder");
    node.kill().await;

    let whole = contents(&old);
    let output = data(&["check", "--data", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let table = damage::table_of(&old, "queue").expect("a folder").expect("buffers are small: there is one");
    damage::spoil(&table, 40, 16).expect("a file");
    let output = data(&["check", "--data", &path]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let name = table.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said(&output).contains(&name) && said(&output).contains("slot "), "{}", said(&output));
    let mut checked = contents(&old);
    assert_ne!(checked.insert(name.clone(), whole[&name].clone()), None);
    assert!(checked == whole, "the check has changed the folder");

    let list = salvaged(&path, &new);
    let (present, delivered) = resumed(&new, &folder.path().join("aside"), &list).await;
    assert!(present >= 15, "{present} of 20 Sessions are left: {list}");
    assert!(delivered > 20 * MESSAGES / 2, "{delivered} messages are left: {list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_whose_list_of_files_is_damaged_is_salvaged_whole() {
    let folder = common::folder();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let mut node = filled(&old, folder.path()).await;
    node.kill().await;
    let manifest = std::fs::read_to_string(old.join("CURRENT")).expect("it is there");
    std::fs::write(old.join(manifest.trim_end()), b"").expect("it can be written");
    let path = old.display().to_string();
    let output = data(&["check", "--data", &path]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains(manifest.trim_end()), "{}", said(&output));
    let list = salvaged(&path, &new);
    assert!(list.contains(manifest.trim_end()), "{list}");
    assert!(!new.join("rebuilt").exists(), "what was needed in between is left");
    let resumed = resumed(&new, &folder.path().join("aside"), &list).await;
    assert_eq!(resumed, (20, 20 * MESSAGES), "{list}");
}
