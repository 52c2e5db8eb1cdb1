//! A log that nobody reads any more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::node::{Folder, PATIENCE};

/// The counter of lost lines, once there is one.
fn lost(api: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(api).expect("the api answers");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("metrics");
    text.lines().find_map(|line| line.strip_prefix("convoy_log_lines_lost_total ")?.parse().ok())
}

#[test]
fn a_log_that_is_a_closed_pipe_stops_neither_the_node_nor_its_end() {
    let folder = Folder::new();
    let text = "[api]\naddr = \"127.0.0.1:0\"\n[storage]\nmin_free_bytes = 0\n\
                [mqtt]\nlisteners = [\"ws://127.0.0.1:0\"]\n";
    let mut convoy = folder.convoy(&["serve"], text);
    let mut node =
        convoy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let (mut api, mut web) = (String::new(), String::new());
    let mut lines = BufReader::new(node.stderr.take().expect("a pipe")).lines();
    loop {
        let line = lines.next().expect("it gets ready").expect("text");
        let addr = line.rsplit("addr=").next().and_then(|rest| rest.split_whitespace().next());
        match addr.map(str::to_owned) {
            Some(addr) if line.contains("api for operators") => api = addr,
            Some(addr) if line.contains("ws: ") => web = addr,
            _ if line.trim_end().ends_with(" ready") => break,
            _ => {}
        }
    }
    drop(lines);

    // A stranger of whom there is something to tell.
    let begin = Instant::now();
    while lost(&api).is_none_or(|lines| lines == 0) {
        assert!(begin.elapsed() < PATIENCE, "nothing was counted as lost");
        let mut stranger = TcpStream::connect(&web).expect("it is let in");
        stranger.write_all(b"nonsense\r\n\r\n").expect("it is taken");
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    let told = Command::new("kill").args(["-TERM", &node.id().to_string()]).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(node.wait().expect("a child").code(), Some(0));
}
