//! The processes of a comparison: a relay in a process of its own, so that its CPU can be told from the generator's.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Failure;

/// A relay's process. It ends with this.
pub struct Relay {
    pub child: Child,
    pub port: u16,
}

impl Relay {
    pub fn start(variant: &str, cores: usize, on: &str) -> Result<Self, Failure> {
        let mut command = pinned(on, &itself()?);
        command.args(["relay", variant, &cores.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut relay = Self { child: command.spawn()?, port: 0 };
        relay.port = relay.line()?.parse()?;
        Ok(relay)
    }

    pub fn floor(mqload: &str, on: &str) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = pinned(on, mqload).args(["floor", "--port", &port.to_string()]).spawn()?;
        let relay = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(5);
        while StdStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("the floor does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(relay)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let output = self.child.stdout.as_mut().ok_or("the relay has no output")?;
        let mut line = String::new();
        // The relay says one line and then nothing until it is to end, so nothing is lost with this reader.
        BufReader::new(output).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// How many deliveries went to another shard.
    pub fn end(mut self) -> Result<u64, Failure> {
        let Some(input) = self.child.stdin.take() else { return Ok(0) };
        drop(input);
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn itself() -> Result<String, Failure> {
    Ok(std::env::current_exe()?.to_str().ok_or("the path of this program is not UTF-8")?.to_owned())
}

/// `taskset` becomes the program, so the process keeps its number.
pub fn pinned(cores: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores, program]);
    command
}
