//! Command line clients that take mosquitto's options: mosquitto_pub and mosquitto_sub, and `convoy pub` and `convoy sub`.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use convoy_chaos::client::Transport;
use convoy_chaos::fault::Lacking;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{Place, Version};

const LIMIT: Duration = Duration::from_secs(30);

/// A pair of command line clients that take mosquitto's options.
pub struct Tools {
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// What both take: where, and in which version.
    place: Vec<String>,
    version: Version,
}

impl Tools {
    /// Debian's, if this machine has them.
    pub fn mosquitto(place: &Place<'_>, version: Version) -> Result<Self, Lacking> {
        let found = std::process::Command::new("mosquitto_sub").arg("--help").output();
        found.map_err(|error| Lacking { what: "mosquitto's clients", why: error.to_string() })?;
        // Into a pipe it would hold back its lines.
        let subscribe = ["stdbuf", "-oL", "mosquitto_sub"];
        Ok(Self {
            publish: vec!["mosquitto_pub".to_owned()],
            subscribe: subscribe.map(str::to_owned).into(),
            place: words(place, version),
            version,
        })
    }

    pub fn convoy(path: &Path, place: &Place<'_>, version: Version) -> Self {
        let command = |command: &str| vec![path.display().to_string(), command.to_owned()];
        Self { publish: command("pub"), subscribe: command("sub"), place: words(place, version), version }
    }

    fn command(&self, words: &[String], arguments: &[&str]) -> Command {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(&self.place)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn publish(&self, arguments: &[&str]) {
        self.publish_lines(arguments, "").await;
    }

    /// `lines` go to its stdin.
    async fn publish_lines(&self, arguments: &[&str], lines: &str) {
        let mut child = self.command(&self.publish, arguments).spawn().expect("it was there a moment ago");
        let mut stdin = child.stdin.take().expect("piped");
        // A client that does not read its stdin may be gone already.
        let _ = stdin.write_all(lines.as_bytes()).await;
        drop(stdin);
        let output =
            timeout(LIMIT, child.wait_with_output()).await.expect("a publisher ends").expect("a child");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        // With -d every packet is told: that is how one knows that the SUBACK has come.
        let mut all = vec!["-d"];
        all.extend_from_slice(arguments);
        let child = self.command(&self.subscribe, &all).spawn().expect("it was there a moment ago");
        let mut subscriber = Subscriber { child, lines: String::new() };
        subscriber.wait_for_suback().await;
        subscriber
    }

    /// Runs to its end.
    async fn subscribe_until_end(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let child = self.command(&self.subscribe, arguments).spawn().expect("it was there a moment ago");
        let output =
            timeout(LIMIT, child.wait_with_output()).await.expect("a subscriber ends").expect("a child");
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

struct Subscriber {
    child: Child,
    lines: String,
}

impl Subscriber {
    /// mosquitto tells on stdout, convoy on stderr; whichever speaks of SUBACK first.
    async fn wait_for_suback(&mut self) {
        let mut stdout = BufReader::new(self.child.stdout.as_mut().expect("piped"));
        let mut stderr = BufReader::new(self.child.stderr.as_mut().expect("piped"));
        let wait = async {
            loop {
                let mut line = String::new();
                let mut other = String::new();
                let read = tokio::select! {
                    read = stdout.read_line(&mut line) => read,
                    read = stderr.read_line(&mut other) => read,
                };
                line.push_str(&other);
                if read.expect("a pipe") == 0 || line.contains("SUBACK") || line.contains("Suback") {
                    return line;
                }
                self.lines.push_str(&line);
            }
        };
        let line = timeout(LIMIT, wait).await.expect("a SUBACK in time");
        assert!(!line.is_empty(), "the subscriber ended before its SUBACK: {}", self.lines);
        // What the readers had read ahead beyond that line belongs to the messages.
        let ahead = String::from_utf8_lossy(stdout.buffer()).into_owned();
        self.lines = ahead;
    }

    /// Its messages, when it has ended by itself (-C).
    async fn messages(mut self) -> Vec<String> {
        let mut rest = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        let mut stderr = self.child.stderr.take().expect("piped");
        let told = tokio::spawn(async move {
            let mut told = String::new();
            let _ = stderr.read_to_string(&mut told).await;
            told
        });
        let read = timeout(LIMIT, stdout.read_to_string(&mut rest)).await;
        let status = self.child.try_wait();
        let told_so_far = if read.is_err() { String::new() } else { told.await.unwrap_or_default() };
        assert!(read.is_ok(), "the subscriber waits for more than {rest:?} ({status:?})");
        let all = self.lines + &rest;
        let messages: Vec<String> =
            all.lines().filter(|line| line.starts_with("MSG ")).map(|line| line[4..].to_owned()).collect();
        assert!(!messages.is_empty(), "no message among {all:?} {told_so_far:?}");
        messages
    }
}

const FORMAT: &str = "MSG %t %q %r %p";

fn words(place: &Place<'_>, version: Version) -> Vec<String> {
    let version = match version {
        Version::V31 => "mqttv31",
        Version::V311 => "mqttv311",
        Version::V5 => "mqttv5",
    };
    let mut words = ["-h", "localhost", "-p", &place.port(), "-V", version].map(str::to_owned).to_vec();
    if place.transport.is_secure() {
        words.extend(["--cafile".to_owned(), place.file(|files| &files.authority)]);
    }
    if place.transport == Transport::MutualTls {
        words.extend(["--cert".to_owned(), place.file(|files| &files.client)]);
        words.extend(["--key".to_owned(), place.file(|files| &files.client_key)]);
    }
    if place.transport.is_web_socket() {
        words.push("--ws".to_owned());
    }
    words
}

/// What both pairs of tools have to agree with the broker on.
pub async fn tell(tools: &Tools) {
    let tag = "tools";
    let client = |name: &str| format!("{name}-{tag}");
    let lasting = |name: &str| -> Vec<String> {
        let mut words = vec!["-i".to_owned(), client(name), "-c".to_owned()];
        if tools.version == Version::V5 {
            words.extend(["-x".to_owned(), "3600".to_owned()]);
        }
        words
    };

    // QoS 0, 1 and 2 through a wildcard, in order.
    let topic = format!("tools/{tag}/speed");
    let filter = format!("tools/{tag}/+");
    for qos in ["0", "1", "2"] {
        let subscriber = tools.subscribe(&["-t", &filter, "-q", qos, "-C", "3", "-F", FORMAT]).await;
        tools.publish_lines(&["-t", &topic, "-q", qos, "-l"], "one\ntwo\nthree\n").await;
        let expected: Vec<_> = ["one", "two", "three"].map(|text| format!("{topic} {qos} 0 {text}")).into();
        assert_eq!(subscriber.messages().await, expected);
    }

    // A lasting Session fetches what came while it was away.
    let words = lasting("away");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let queue = format!("tools/{tag}/queue");
    let mut first = words.clone();
    first.extend(["-t", &queue, "-q", "2", "-E"]);
    let (status, _) = tools.subscribe_until_end(&first).await;
    assert!(status.success(), "{status}");
    for qos in ["1", "2"] {
        tools.publish(&["-t", &queue, "-q", qos, "-m", &format!("kept {qos}")]).await;
    }
    let mut second = words.clone();
    second.extend(["-t", &queue, "-q", "2", "-C", "2", "-W", "15", "-F", FORMAT]);
    let (status, said) = tools.subscribe_until_end(&second).await;
    assert!(status.success(), "{status}: {said}");
    let got: Vec<_> = said.lines().collect();
    assert_eq!(got, [format!("MSG {queue} 1 0 kept 1"), format!("MSG {queue} 2 0 kept 2")]);

    // Retained: set, seen late, deleted, seen no more.
    let door = format!("tools/{tag}/door");
    tools.publish(&["-t", &door, "-q", "1", "-r", "-m", "open"]).await;
    let (status, said) =
        tools.subscribe_until_end(&["-t", &door, "-q", "1", "-C", "1", "-W", "15", "-F", FORMAT]).await;
    assert!(status.success(), "{status}: {said}");
    assert_eq!(said.trim_end(), format!("MSG {door} 1 1 open"));
    tools.publish(&["-t", &door, "-q", "1", "-r", "-n"]).await;
    let (_, said) =
        tools.subscribe_until_end(&["-t", &door, "-q", "1", "-C", "1", "-W", "1", "-F", FORMAT]).await;
    assert_eq!(said, "", "a deleted message came back");

    // A Will of a client that is killed.
    let grave = format!("tools/{tag}/grave");
    let watcher = tools.subscribe(&["-t", &grave, "-q", "1", "-C", "1", "-F", FORMAT]).await;
    let name = client("mortal");
    let will = [
        "-i",
        &name,
        "-t",
        "tools/nothing",
        "--will-topic",
        &grave,
        "--will-payload",
        "lost",
        "--will-qos",
        "1",
    ];
    let mut mortal = tools.subscribe(&will).await;
    mortal.child.kill().await.expect("it runs");
    assert_eq!(watcher.messages().await, [format!("{grave} 1 0 lost")]);
}
