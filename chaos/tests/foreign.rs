//! Proves: Clients that nobody of this house wrote get what MQTT promises. paho-mqtt (Python) and mosquitto's clients, at
//! 3.1.1 and 5.0, QoS 0, 1 and 2, clean and lasting; and `convoy pub` and `convoy sub` against the same expectations.

mod common;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use convoy_chaos::fault::{Lacking, skipped};
use convoy_chaos::fleet::{Node, Program};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

fn python() -> PathBuf {
    std::env::var_os("CONVOY_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// All of paho's stories in one version, one after the other.
async fn paho(test: &str, version: &str) {
    let has_paho = Command::new(python()).args(["-c", "import paho.mqtt"]).output().await;
    match has_paho {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return skipped(
                test,
                &Lacking { what: "paho-mqtt (CONVOY_TEST_PYTHON names a Python that has it)", why },
            );
        }
        Err(error) => return skipped(test, &Lacking { what: "Python", why: error.to_string() }),
    }
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/paho_story.py");
    let mut failed = Vec::new();
    for story in ["levels", "wildcards", "retained", "will", "large", "resume", "many"] {
        let mut command = Command::new(python());
        command.arg(&script).args(["--port", &node.mqtt().port().to_string(), "--version", version, story]);
        let output = timeout(LIMIT * 3, command.kill_on_drop(true).output()).await;
        match output {
            Err(_) => failed.push(format!("{story}: not over in time")),
            Ok(Err(error)) => failed.push(format!("{story}: {error}")),
            Ok(Ok(output)) if !output.status.success() => {
                failed.push(format!("{story}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Ok(Ok(_)) => {}
        }
    }
    assert!(failed.is_empty(), "{}\nthe node said:\n{}", failed.join("\n"), node.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paho_3_1_1_gets_what_mqtt_promises() {
    paho("paho_3_1_1_gets_what_mqtt_promises", "311").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paho_5_0_gets_what_mqtt_promises() {
    paho("paho_5_0_gets_what_mqtt_promises", "5").await;
}

/// A pair of command line clients that take mosquitto's options.
#[derive(Clone)]
struct Tools {
    publish: Vec<String>,
    subscribe: Vec<String>,
    port: u16,
    version: &'static str,
}

impl Tools {
    fn mosquitto(node: &Node, version: &'static str) -> Self {
        // Into a pipe it would hold back its lines.
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            publish: words(&["mosquitto_pub"]),
            subscribe: words(&["stdbuf", "-oL", "mosquitto_sub"]),
            port: node.mqtt().port(),
            version,
        }
    }

    fn convoy(path: &Path, node: &Node, version: &'static str) -> Self {
        let words = |command: &str| vec![path.display().to_string(), command.to_owned()];
        Self { publish: words("pub"), subscribe: words("sub"), port: node.mqtt().port(), version }
    }

    fn command(&self, words: &[String], arguments: &[&str]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", self.version]);
        command
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

/// What both pairs of tools have to agree with the broker on.
async fn tools(tools: &Tools) {
    let tag = format!("{}-{}", tools.version, tools.publish.len());
    let client = |name: &str| format!("{name}-{tag}");
    let lasting = |name: &str| -> Vec<String> {
        let mut words = vec!["-i".to_owned(), client(name), "-c".to_owned()];
        if tools.version == "mqttv5" {
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

fn lacks(tool: &str) -> Option<Lacking> {
    let found = std::process::Command::new(tool).arg("--help").output();
    found.err().map(|error| Lacking { what: "mosquitto's clients", why: error.to_string() })
}

async fn mosquitto(test: &str, version: &'static str) {
    if let Some(lacking) = lacks("mosquitto_sub") {
        return skipped(test, &lacking);
    }
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    tools(&Tools::mosquitto(&node, version)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_3_1_1_get_what_mqtt_promises() {
    mosquitto("mosquitto_s_clients_3_1_1_get_what_mqtt_promises", "mqttv311").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_5_0_get_what_mqtt_promises() {
    mosquitto("mosquitto_s_clients_5_0_get_what_mqtt_promises", "mqttv5").await;
}

async fn convoy(version: &'static str) {
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    let Program::Convoy(path) = node.program().clone() else {
        // Another broker stands in, to look at the suite itself.
        return;
    };
    tools(&Tools::convoy(&path, &node, version)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convoy_pub_and_sub_agree_in_3_1_1() {
    convoy("mqttv311").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convoy_pub_and_sub_agree_in_5_0() {
    convoy("mqttv5").await;
}
