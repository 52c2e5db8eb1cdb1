//! Real processes: started, killed, paused and started again, on ports of their own, with a data folder that stays. A fleet
//! is a list of them.

mod certificates;
pub mod http;
mod listeners;
mod operator;
mod several;
pub(crate) mod signal;

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

pub use certificates::{CLIENT, Certificates};
pub use http::{get, get_from_elsewhere, request};
pub use listeners::Listeners;
pub use operator::Ban;
pub use several::Several;

use crate::client::{Place, Transport};
use crate::oracle::{Fault, History};

/// How long a start may take before it counts as failed; how soon it has to be is a promise, and judged apart.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Clone, Debug)]
pub enum Program {
    /// The binary in `CONVOY_BIN`.
    Convoy(PathBuf),
    /// Debian's mosquitto, to tell a mistake of this suite from one of the broker: `CHAOS_PROGRAM=mosquitto`.
    Mosquitto,
}

impl Program {
    pub fn from_env() -> Result<Self, NoProgram> {
        if std::env::var("CHAOS_PROGRAM").as_deref() == Ok("mosquitto") {
            return Ok(Self::Mosquitto);
        }
        match std::env::var_os("CONVOY_BIN").map(PathBuf::from) {
            None => Err(NoProgram("CONVOY_BIN is not set".to_owned())),
            Some(path) if !path.is_file() => {
                Err(NoProgram(format!("CONVOY_BIN={} is no file", path.display())))
            }
            // Relative paths would be looked for in the node's own folder.
            Some(path) => path.canonicalize().map(Self::Convoy).map_err(|error| NoProgram(error.to_string())),
        }
    }

    pub fn is_convoy(&self) -> bool {
        matches!(self, Self::Convoy(_))
    }
}

/// There is nothing to run.
#[derive(Debug)]
pub struct NoProgram(String);

impl fmt::Display for NoProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: build the broker and name it, as in CONVOY_BIN=target/release/convoy (`make test` does both)",
            self.0
        )
    }
}

impl std::error::Error for NoProgram {}

/// Why a node did not start. It is not running.
#[derive(Debug)]
pub enum StartError {
    Spawn(io::Error),
    /// The process ended by itself; its own words are in `stderr`.
    Exited {
        status: String,
        stderr: String,
    },
    /// It was killed after waiting for so long.
    NotReady {
        after: Duration,
        stderr: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Spawn(error) => write!(f, "the process could not be made: {error}"),
            StartError::Exited { status, stderr } => {
                write!(f, "the node ended by itself ({status}):\n{stderr}")
            }
            StartError::NotReady { after, stderr } => {
                write!(f, "the node was not ready after {after:?}:\n{stderr}")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// What the kernel grants a process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessLimits {
    pub address_space_bytes: u64,
    pub descriptors: u64,
}

pub struct Node {
    program: Program,
    limits: Option<ProcessLimits>,
    data: PathBuf,
    /// Holds configuration and the node's output; apart from `data`, which may be full, cut off or damaged.
    aside: PathBuf,
    mqtt: SocketAddr,
    api: SocketAddr,
    settings: Vec<(String, String)>,
    /// Without them there is the one over TCP.
    listeners: Option<Listeners>,
    /// More of the configuration file.
    toml: String,
    history: History,
    child: Option<Child>,
}

impl Node {
    /// Not started yet. `data` may be on a disk of its own.
    pub fn new(program: Program, data: &Path, aside: &Path, history: &History) -> io::Result<Self> {
        fs::create_dir_all(data)?;
        fs::create_dir_all(aside)?;
        let [mqtt, api] = free_ports()?;
        Ok(Self {
            program,
            limits: None,
            data: data.to_owned(),
            aside: aside.to_owned(),
            mqtt,
            api,
            settings: Vec::new(),
            listeners: None,
            toml: String::new(),
            history: history.clone(),
            child: None,
        })
    }

    /// A key of the configuration, as the environment overrides it: `CONVOY_SECTION__KEY`.
    pub fn with_setting(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Run by `prlimit` of util-linux, which becomes the program.
    pub fn with_process_limits(mut self, limits: ProcessLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Text of a configuration file; what the environment says goes before it.
    pub fn with_toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self
    }

    /// A listener for every [`Transport`], with certificates made for them.
    pub fn with_listeners(mut self) -> io::Result<Self> {
        self.listeners = Some(Listeners::new(self.mqtt, &self.aside)?);
        Ok(self)
    }

    pub fn listeners(&self) -> Option<&Listeners> {
        self.listeners.as_ref()
    }

    /// Where a Client that speaks over `transport` connects to.
    pub fn place(&self, transport: Transport) -> Place {
        match &self.listeners {
            Some(listeners) => listeners.place(transport),
            None => {
                assert_eq!(transport, Transport::Tcp, "the node was not given such a listener");
                self.mqtt.into()
            }
        }
    }

    /// All of them.
    pub fn places(&self) -> Vec<Place> {
        match &self.listeners {
            Some(listeners) => Transport::ALL.map(|transport| listeners.place(transport)).into(),
            None => vec![self.mqtt.into()],
        }
    }

    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    pub fn api(&self) -> SocketAddr {
        self.api
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// From here on events go to another history: a long run is judged round by round.
    pub fn record_to(&mut self, history: &History) {
        self.history = history.clone();
    }

    /// Starts the process and waits until it is ready. Returns how long that took, without what it had to wait for a
    /// processor.
    pub async fn start(&mut self) -> Result<Duration, StartError> {
        self.start_until(async |node: &Self| node.is_ready().await).await
    }

    /// Starts a node that serves and says by `/readyz` that some of its data is damaged.
    pub async fn start_damaged(&mut self) -> Result<Duration, StartError> {
        self.start_until(async |node: &Self| {
            let Ok((503, body)) = get(node.api, "/readyz").await else { return false };
            body.contains("\"storage\"") && !body.contains("\"listeners\"")
        })
        .await
    }

    async fn start_until(&mut self, is_up: impl AsyncFn(&Self) -> bool) -> Result<Duration, StartError> {
        assert!(self.child.is_none(), "a node is started once");
        let mut command = self.command().map_err(StartError::Spawn)?;
        let stderr = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .map_err(StartError::Spawn)?;
        let stdout = stderr.try_clone().map_err(StartError::Spawn)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).kill_on_drop(true);
        let began = Instant::now();
        self.history.fault(Fault::Started);
        self.child = Some(command.spawn().map_err(StartError::Spawn)?);
        loop {
            if is_up(self).await {
                let starved = self.starved(began.elapsed()).unwrap_or_default();
                self.history.fault(Fault::Starved(starved));
                self.history.fault(Fault::Ready);
                return Ok(began.elapsed().saturating_sub(starved));
            }
            if let Some(status) = self.exited() {
                return Err(StartError::Exited { status, stderr: self.stderr() });
            }
            if began.elapsed() > START_LIMIT {
                self.kill().await;
                return Err(StartError::NotReady { after: START_LIMIT, stderr: self.stderr() });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How the process ended, if it did by itself.
    pub fn exited(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status.to_string())
    }

    pub fn is_running(&mut self) -> bool {
        self.exited();
        self.child.is_some()
    }

    /// kill -9; back when the process is gone and its files are closed.
    pub async fn kill(&mut self) {
        self.history.fault(Fault::Killed);
        self.reap().await;
    }

    /// Ends the process without an event: the caller records what this is.
    pub async fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself: then there is nothing left to kill.
            let _ = child.kill().await;
        }
    }

    /// SIGTERM, and the exit status; the process is killed if it has not ended after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        self.history.fault(Fault::Killed);
        if let Some(pid) = child.id() {
            signal::terminate(pid);
        }
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = child.kill().await;
                None
            }
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        if let Some(pid) = self.pid() {
            self.history.fault(Fault::Paused);
            signal::pause(pid);
        }
    }

    /// SIGCONT.
    pub fn resume(&self) {
        if let Some(pid) = self.pid() {
            signal::resume(pid);
            self.history.fault(Fault::Resumed);
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// How much of the time since its start others on this machine have taken from it: how long one of its threads has waited
    /// for a processor, of all its threads the longest. What its own threads take from each other is not others' doing:
    /// there remains the time in which all processors could have done its work. By `/proc/PID/task/TID/schedstat`:
    /// nanoseconds of work, and of waiting.
    fn starved(&self, since_start: Duration) -> io::Result<Duration> {
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        let (mut worked, mut waited) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may have ended meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let mut fields = text.split(' ').map_while(|field| field.parse::<u64>().ok());
            worked += fields.next().unwrap_or_default();
            waited = fields.next().unwrap_or_default().max(waited);
        }
        let processors = std::thread::available_parallelism()?.get() as u64;
        let own = Duration::from_nanos(worked / processors);
        Ok(Duration::from_nanos(waited).min(since_start.saturating_sub(own)))
    }

    /// Resident memory in bytes, by the kernel's count.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        bytes_of_status(pid, "VmRSS:")
    }

    pub fn descriptors(&self) -> io::Result<usize> {
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
    }

    pub async fn is_ready(&self) -> bool {
        match self.program {
            Program::Convoy(_) => matches!(get(self.api, "/readyz").await, Ok((200, _))),
            Program::Mosquitto => tokio::net::TcpStream::connect(self.mqtt).await.is_ok(),
        }
    }

    /// What the node has written so far, its end if that is long.
    pub fn stderr(&self) -> String {
        let bytes = fs::read(self.stderr_path()).unwrap_or_default();
        let from = bytes.len().saturating_sub(16_000);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    fn stderr_path(&self) -> PathBuf {
        self.aside.join("node.log")
    }

    fn limited(&self, program: &Path) -> Command {
        let Some(ProcessLimits { address_space_bytes, descriptors }) = self.limits else {
            return Command::new(program);
        };
        let mut command = Command::new("prlimit");
        command.arg(format!("--as={address_space_bytes}")).arg(format!("--nofile={descriptors}"));
        command.arg("--").arg(program);
        command
    }

    fn command(&self) -> io::Result<Command> {
        match &self.program {
            Program::Convoy(path) => {
                let mut command = self.limited(path);
                command.arg("serve").arg("--data").arg(&self.data);
                command.arg("--api").arg(self.api.to_string());
                let mut toml = self.toml.clone();
                match &self.listeners {
                    Some(listeners) => toml.push_str(&listeners.toml()),
                    None => {
                        command.arg("--mqtt").arg(self.mqtt.to_string());
                    }
                }
                if !toml.is_empty() {
                    let file = self.aside.join("convoy.toml");
                    fs::write(&file, toml)?;
                    command.arg("--config").arg(file);
                }
                // Meant for the suite, not for the broker.
                for name in ["CONVOY_BIN", "CONVOY_TEST_PYTHON", "CONVOY_TEST_NODE_MODULES"] {
                    command.env_remove(name);
                }
                command.envs(self.settings.iter().map(|(key, value)| (key, value)));
                // A configuration of the machine is none of the test's.
                command.current_dir(&self.aside);
                Ok(command)
            }
            Program::Mosquitto => {
                let file = self.aside.join("mosquitto.conf");
                let text = format!(
                    "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
                     max_queued_messages 0\nuser root\n",
                    self.mqtt.port(),
                    self.data.display()
                );
                fs::write(&file, text)?;
                let mut command = Command::new("mosquitto");
                command.arg("-c").arg(file);
                Ok(command)
            }
        }
    }
}

/// The most memory that a process had resident since it began, in bytes.
pub fn highest_resident_bytes(pid: u32) -> io::Result<u64> {
    bytes_of_status(pid, "VmHWM:")
}

fn bytes_of_status(pid: u32, key: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what the node said ----\n{}\n----", self.stderr());
        }
    }
}

/// Free ports below those that the kernel gives to outgoing connections: while a node is down nobody takes its port, and
/// a Client that knocks meanwhile does not meet itself.
fn free_ports<const N: usize>() -> io::Result<[SocketAddr; N]> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    // Test binaries that run at once begin in different places.
    let begin = std::process::id().wrapping_mul(311) % COUNT;
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for port in &mut ports {
        *port = (0..COUNT)
            .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
            .map(|number| SocketAddr::from((Ipv4Addr::LOCALHOST, number as u16)))
            .find(|address| TcpListener::bind(address).is_ok())
            .ok_or(io::ErrorKind::AddrInUse)?;
    }
    Ok(ports)
}
