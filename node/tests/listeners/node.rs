//! A node of its own: on ports that the kernel chose, with a folder that goes with it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes, also on a machine with much to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Node {
    child: Child,
    pub folder: Folder,
}

/// What a test needs on disk, the configuration among it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        // Aside and renamed, as it is done where somebody reads at any time.
        let aside = self.path("aside");
        fs::write(&aside, content).expect("a file");
        fs::rename(aside, self.path(name)).expect("a file");
    }

    /// `convoy` with the configuration `text`, in which `@` stands for the folder.
    pub fn convoy(&self, command: &[&str], text: &str) -> Command {
        let text = text.replace('@', &format!("{}/", self.0.path().display()));
        self.write("convoy.toml", &text);
        let mut convoy = Command::new(env!("CARGO_BIN_EXE_convoy"));
        convoy
            .args(command)
            .arg("--config")
            .arg(self.path("convoy.toml"))
            .arg("--data")
            .arg(self.path("data"));
        convoy
    }

    /// What `convoy config check` says of it.
    pub fn check(&self, text: &str) -> Output {
        self.convoy(&["config", "check"], text).output().expect("convoy runs")
    }

    /// The complaints of `convoy config check`.
    #[track_caller]
    pub fn complaints(&self, text: &str) -> String {
        let output = self.check(text);
        assert!(!output.status.success(), "it is not refused");
        String::from_utf8(output.stderr).expect("text")
    }
}

impl Node {
    pub fn start(folder: Folder, text: &str) -> Self {
        Self::start_under(folder, &[], text)
    }

    /// With more keys of section `[api]`.
    pub fn start_api(folder: Folder, api: &str, text: &str) -> Self {
        Self::spawn(
            folder,
            &[],
            &format!("[api]\naddr = \"127.0.0.1:0\"\n{api}[storage]\nmin_free_bytes = 0\n{text}"),
        )
    }

    /// As the child of a command that changes something about it, such as a limit.
    pub fn start_under(folder: Folder, wrapper: &[&str], text: &str) -> Self {
        let text = format!("[api]\naddr = \"127.0.0.1:0\"\n[storage]\nmin_free_bytes = 0\n{text}");
        Self::spawn(folder, wrapper, &text)
    }

    fn spawn(folder: Folder, wrapper: &[&str], text: &str) -> Self {
        let log = File::create(folder.path("log")).expect("a log");
        let plain = folder.convoy(&["serve"], text);
        let mut convoy = match wrapper {
            [] => plain,
            [first, rest @ ..] => {
                let mut wrapped = Command::new(first);
                wrapped.args(rest).arg(plain.get_program()).args(plain.get_args());
                wrapped
            }
        };
        convoy.stdin(Stdio::null()).stderr(log.try_clone().expect("a log")).stdout(log);
        let child = convoy.env("CONVOY_LOG", "info,convoy=debug").spawn().expect("convoy runs");
        let mut node = Self { child, folder };
        node.wait_for("ready");
        node
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    /// Waits until the log has a line with these words.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let begin = Instant::now();
        while !self.log().lines().any(|line| line.contains(words)) {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && begin.elapsed() < PATIENCE, "no {words:?} in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where the first listener of a kind is.
    #[track_caller]
    pub fn addr(&self, kind: &str) -> SocketAddr {
        self.addr_after(&format!("{kind}: "))
    }

    #[track_caller]
    fn addr_after(&self, words: &str) -> SocketAddr {
        let log = self.log();
        let line =
            log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words} in {log}"));
        let addr = line.rsplit("addr=").next().and_then(|rest| rest.split_whitespace().next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("an address in {line}"))
    }

    #[track_caller]
    pub fn api(&self) -> SocketAddr {
        self.addr_after("api for operators")
    }

    pub fn metrics(&self) -> String {
        self.answer("/metrics")
    }

    /// What the API answers, with its head.
    pub fn answer(&self, path: &str) -> String {
        let mut stream = connect(self.api());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// Waits until a line of the metrics has all these words.
    #[track_caller]
    pub fn wait_for_metric(&self, words: &[&str]) {
        let begin = Instant::now();
        loop {
            let metrics = self.metrics();
            if metrics.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "no {words:?} in:\n{metrics}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// How the process has ended.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket that gives up in the end.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}
