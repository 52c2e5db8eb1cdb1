//! What one attack came to, and whether that is within its limit.

use std::fmt;
use std::time::Duration;

use super::bystanders::Heard;

/// What an attack may take from the node and from others.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Resident memory at its highest.
    pub resident_bytes: u64,
    /// Of others' messages, beyond ten times what they took in quiet: whoever attacks has a share of the cores, and the
    /// bound is on harm, not on sharing.
    pub p99: Duration,
}

#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub limit: Limit,
    /// What was done; an error is an attack that did not take place, or met what it may not.
    pub said: anyhow::Result<String>,
    pub heard: Heard,
    /// At its highest.
    pub resident_bytes: u64,
    pub is_running: bool,
    pub is_ready: bool,
    /// A node of which a slot has stopped says that it is not.
    pub is_to_be_ready: bool,
    pub known_open: Option<&'static str>,
}

impl Row {
    pub const HEAD: &'static str =
        "attack                                   memory    limit  others p99    longest lost  verdict";

    /// Why the row fails; nothing if it does not.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Err(error) = &self.said {
            faults.push(format!("{error:#}"));
        }
        if self.resident_bytes > self.limit.resident_bytes {
            faults.push(format!("{} MB resident", self.resident_bytes / 1_000_000));
        }
        if !self.is_running {
            faults.push("the node is gone".to_owned());
        } else if self.is_ready != self.is_to_be_ready {
            faults.push(format!(
                "the node says {}",
                if self.is_ready { "ready" } else { "that it is not ready" }
            ));
        }
        if self.heard.count() == 0 {
            faults.push("the bystanders did nothing".to_owned());
        }
        let limit = self.limit.p99 + self.heard.quiet_p99 * 10;
        if self.heard.p99() > limit {
            faults.push(format!("others waited {:.1?}, more than {limit:.1?}", self.heard.p99()));
        }
        if let Some(first) = self.heard.lost.first() {
            faults.push(format!("{} messages of others lost: {first}", self.heard.lost.len()));
        }
        faults
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1e3);
        write!(
            f,
            "{:<39} {:>4} MB {:>5} MB {:>11} {:>10} {:>4}  ",
            self.name,
            self.resident_bytes / 1_000_000,
            self.limit.resident_bytes / 1_000_000,
            milliseconds(self.heard.p99()),
            milliseconds(self.heard.longest()),
            self.heard.lost.len(),
        )?;
        let faults = self.faults().join("; ");
        let said = self.said.as_deref().unwrap_or("cut short");
        match (faults.is_empty(), self.known_open) {
            (true, _) => write!(f, "holds ({said})"),
            (false, None) => write!(f, "FAILS: {faults} ({said})"),
            (false, Some(why)) => write!(f, "open, {why}: {faults} ({said})"),
        }
    }
}
