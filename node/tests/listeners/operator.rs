//! What an operator is told whose command or file is not right, and by whom of `convoy` it is told.

use std::process::{Command, Output, Stdio};

use crate::node::{Folder, Node};

const TEXT: &str = "[mqtt]\nlisteners = [\"127.0.0.1:0\"]\n";

/// `convoy ctl` for the node of this folder.
fn ctl(node: &Node, args: &[&str]) -> Output {
    let mut convoy = Command::new(env!("CARGO_BIN_EXE_convoy"));
    convoy.args(["ctl", "--api", &node.api().to_string(), "--data"]).arg(node.folder.path("data"));
    convoy.args(args).stdin(Stdio::null()).env_remove("CONVOY_API_KEY");
    convoy.output().expect("convoy runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_holds_from_the_next_start_on_is_told_when_the_file_changes() {
    let mut node = Node::start(Folder::new(), TEXT);
    let text = std::fs::read_to_string(node.folder.path("convoy.toml")).expect("a file");
    node.folder.write("convoy.toml", &format!("{text}[limits]\nqueue_messages = 7\n[auth]\nthreads = 3\n"));
    node.signal("HUP");
    node.wait_for("sections=\"auth, limits\"");
    assert!(node.log().contains("what has changed in these sections holds from the next start on"));

    node.folder.write("convoy.toml", &format!("{text}[limits]\nqueue_mesages = 7\n"));
    node.signal("HUP");
    node.wait_for("unknown key limits.queue_mesages");
    let log = node.log();
    assert!(log.contains("the changed configuration is not used, the old one is kept"), "{log}");
    assert!(!log.contains("nothing was started"), "{log}");
}

#[test]
fn a_data_folder_that_is_a_file_and_a_wrong_level_are_named() {
    let folder = Folder::new();
    folder.write("data", "a file");
    let complaints = folder.complaints(TEXT);
    assert!(
        complaints.contains("--data: node.data = ") && complaints.contains("expected a folder"),
        "{complaints}"
    );

    let folder = Folder::new();
    let checked = folder.convoy(&["config", "check"], TEXT).env("CONVOY_LOG", "bogus=x").output();
    let checked = checked.expect("convoy runs");
    assert!(!checked.status.success() && said(&checked).contains("CONVOY_LOG = bogus=x"), "{checked:?}");
}

#[test]
fn ctl_says_what_to_do_instead() {
    let node = Node::start(Folder::new(), TEXT);
    let cases: [(&[&str], &str); 4] = [
        (&["retained", "doors/VIN1"], "there is no Retained Message"),
        (&["users", "list"], "convoy ctl users add makes one"),
        (&["kick", "nobody"], "there is no Client nobody"),
        (&["ban", "add", "--reason", "lost"], "--client <ID>|--user <NAME>|--address <ADDR>>"),
    ];
    for (args, expected) in cases {
        let output = ctl(&node, args);
        assert!(!output.status.success() && said(&output).contains(expected), "{args:?}: {}", said(&output));
    }

    let mut named = Command::new(env!("CARGO_BIN_EXE_convoy"));
    let named = named.args(["ctl", "--api", "localhost:18083", "status"]).output().expect("convoy runs");
    assert!(said(&named).contains("such as 127.0.0.1:18083"), "{}", said(&named));

    let port = node.addr("mqtt").port().to_string();
    let tester = |args: &[&str]| {
        let mut convoy = Command::new(env!("CARGO_BIN_EXE_convoy"));
        assert!(convoy.args(args).args(["-p", &port, "-q", "1"]).status().expect("convoy runs").success());
    };
    tester(&["pub", "-t", "doors/VIN1", "-m", "open", "-r"]);
    tester(&["sub", "-t", "doors/VIN1", "-i", "car", "-c", "-E"]);
    let listed = ctl(&node, &["retained", "doors/#"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("doors/VIN1"), "{listed:?}");
    assert!(said(&ctl(&node, &["kick", "car"])).contains("convoy ctl kick --session"));

    // A password that was drawn is all that stdout has.
    let added = ctl(&node, &["users", "add", "ann", "--generate"]);
    assert_eq!(added.stdout.trim_ascii_end().len(), 32);
    assert!(
        said(&added).contains("user ann is in ") && said(&added).contains("within 2 seconds"),
        "{added:?}"
    );
}
