//! The API among strangers: health is answered, and nothing of what they send is waited for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::node::{Folder, Node, PATIENCE, connect};

fn ask(node: &Node, head: &str) -> String {
    let mut stream = connect(node.api());
    stream.write_all(head.as_bytes()).expect("it is taken");
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn get(node: &Node, path: &str, more: &str) -> String {
    ask(node, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"))
}

fn key(node: &Node) -> String {
    let key = std::fs::read_to_string(node.folder.path("data/api.key")).expect("a key");
    format!("Authorization: Bearer {}\r\n", key.trim())
}

const LISTENER: &str = "[mqtt]\nlisteners = [\"127.0.0.1:0\"]\n";

#[test]
fn health_is_answered_while_strangers_hold_all_connections() {
    let node = Node::start(Folder::new(), LISTENER);
    let begin = Instant::now();
    while !get(&node, "/readyz", "").starts_with("HTTP/1.1 200") {
        // It listens before its slots are led.
        assert!(begin.elapsed() < PATIENCE, "it is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..2 {
        let strangers: Vec<_> = (0..300)
            .map(|number| {
                let mut stream = connect(node.api());
                // Some say nothing, some the beginning of something.
                let said: &[u8] = if number % 2 == 0 { b"" } else { b"GET /metr" };
                stream.write_all(said).expect("it is taken");
                stream
            })
            .collect();
        let begin = Instant::now();
        for path in ["/livez", "/readyz"] {
            assert!(get(&node, path, "").starts_with("HTTP/1.1 200"), "{path}");
        }
        let status = get(&node, "/api/v1/status", &key(&node));
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        println!("three answers after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(2));
        drop(strangers);
    }
    node.wait_for_metric(&["convoy_api_connections_closed_total", "displaced"]);
}

#[test]
fn a_body_without_the_key_is_not_read() {
    let node = Node::start(Folder::new(), LISTENER);
    let mut stream = connect(node.api());
    let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 2000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it is taken");
    let (piece, mut sent) = (vec![b'x'; 1 << 16], 0_usize);
    let begin = Instant::now();
    while sent < 256 << 20 && begin.elapsed() < PATIENCE && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    println!("{} KiB were taken in {:?}", sent >> 10, begin.elapsed());
    // What the kernel buffers is not ours to bound.
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    assert!(answer(&mut stream).starts_with("HTTP/1.1 401"));
}

#[test]
fn a_long_body_may_come_in_one_piece_with_its_head() {
    let node = Node::start(Folder::new(), LISTENER);
    let body = format!("{{\"topic\":\"a\",\"payload\":\"{}\"}}", "x".repeat(500_000));
    for _ in 0..20 {
        let (key, length) = (key(&node), body.len());
        let request = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = ask(&node, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn long_bodies_that_come_slowly_are_held_for_so_many_at_a_time() {
    let node = Node::start(Folder::new(), LISTENER);
    let post = |length: &str| {
        let mut stream = connect(node.api());
        let head = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\
             Content-Type: application/json\r\n{length}\r\n\r\n",
            key(&node)
        );
        stream.write_all(head.as_bytes()).expect("it is taken");
        stream
    };
    let begins = "{\"topic\":\"a\",\"payload\":\"";
    let mut slow: Vec<_> = (0..40)
        .map(|number| {
            let stream =
                post(if number % 2 == 0 { "Content-Length: 1300000" } else { "Transfer-Encoding: chunked" });
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("it can be set");
            stream
        })
        .collect();
    let refused: Vec<bool> =
        slow.iter_mut().map(|stream| answer(stream).starts_with("HTTP/1.1 503")).collect();
    let read = refused.iter().filter(|is_refused| !**is_refused).count();
    assert!((15..=18).contains(&read), "{read} of 40 bodies are read at a time");

    // What is short is heard all the while, and what is long when others have come or gone.
    let short = format!("{begins}x\"}}");
    let mut stream = post(&format!("Content-Length: {}", short.len()));
    stream.write_all(short.as_bytes()).expect("it is taken");
    let said = answer(&mut stream);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop(slow);
    let long = format!("{begins}{}\"}}", "x".repeat(500_000));
    let begin = Instant::now();
    loop {
        let mut stream = post(&format!("Content-Length: {}", long.len()));
        let _ = stream.write_all(long.as_bytes());
        let said = answer(&mut stream);
        if said.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{said}");
    }
}

#[test]
fn what_is_too_long_or_too_slow_is_ended() {
    let api = "head_bytes = \"2KiB\"\nhead_timeout = \"1s\"\nbody_timeout = \"2s\"\n";
    let node = Node::start_api(Folder::new(), api, LISTENER);
    let long = format!("X-Long: {}\r\n", "x".repeat(40_000));
    assert!(get(&node, "/livez", &long).starts_with("HTTP/1.1 431"));

    let begin = Instant::now();
    let mut slow = connect(node.api());
    slow.write_all(b"GET /livez HTTP/1.1\r\n").expect("it is taken");
    let said = answer(&mut slow);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());

    let begin = Instant::now();
    let mut slow = connect(node.api());
    let key = key(&node);
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\n{key}Content-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).expect("it is taken");
    assert!(!answer(&mut slow).starts_with("HTTP/1.1 2"));
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    node.wait_for_metric(&["convoy_api_connections_closed_total", "slow"]);
}

#[test]
fn a_foreign_page_is_refused_though_it_has_the_key() {
    let node = Node::start(Folder::new(), LISTENER);
    let from = |origin: &str| {
        let more = format!("{}Origin: {origin}\r\n", key(&node));
        get(&node, "/api/v1/status", &more)
    };
    assert!(from("https://evil.example").starts_with("HTTP/1.1 403"));
    assert!(from("http://localhost").starts_with("HTTP/1.1 200"));
}
