//! What this machine has spent on us, read from `/proc` when somebody asks. The names are those that every
//! Prometheus client uses, so that stock dashboards find them.

use std::{fmt, fs, io};

#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    open_descriptors: u64,
    descriptors_limit: u64,
    cpu_seconds: f64,
    started_at_seconds: f64,
}

impl Usage {
    pub(super) fn read() -> io::Result<Self> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat")?).ok_or_else(unreadable)?;
        let boot = fs::read_to_string("/proc/stat")?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")).ok_or_else(unreadable)?;
        let ticks = configured(libc::_SC_CLK_TCK) as f64;
        Ok(Self {
            resident_bytes: stat.resident_pages * configured(libc::_SC_PAGESIZE),
            virtual_bytes: stat.virtual_bytes,
            threads: stat.threads,
            // One of them is the descriptor of the listing itself.
            open_descriptors: (fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
            descriptors_limit: descriptors_limit()?,
            cpu_seconds: stat.cpu_ticks as f64 / ticks,
            started_at_seconds: boot.trim().parse::<f64>().map_err(|_| unreadable())?
                + stat.start_ticks as f64 / ticks,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, kind: &str, meaning: &str, value: &dyn fmt::Display| {
            writeln!(f, "# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n")
        };
        line("process_resident_memory_bytes", "gauge", "resident memory", &self.resident_bytes)?;
        line("process_virtual_memory_bytes", "gauge", "virtual memory", &self.virtual_bytes)?;
        line("process_threads", "gauge", "threads", &self.threads)?;
        line("process_open_fds", "gauge", "open file descriptors", &self.open_descriptors)?;
        line("process_max_fds", "gauge", "limit of open file descriptors", &self.descriptors_limit)?;
        line("process_cpu_seconds_total", "counter", "user and system time spent", &self.cpu_seconds)?;
        line("process_start_time_seconds", "gauge", "start, in unix time", &self.started_at_seconds)
    }
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// proc_pid_stat(5). The name of the program, in parentheses, may hold anything: fields count from behind it.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first field behind the name is number 3 of the manual page.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc holds something unexpected")
}

/// The limits line reads "Max open files   soft   hard   files"; "unlimited" cannot be had for descriptors.
fn descriptors_limit() -> io::Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse().ok());
    soft.ok_or_else(unreadable)
}

fn configured(name: libc::c_int) -> u64 {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    #[allow(unsafe_code)]
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).expect("page size and clock ticks are defined on every Linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "1 (a) b (c) S 2 3 4 5 6 7 8 9 10 11 100 23 16 17 18 19 8 21 5000 4096 77 25";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (123, 8, 5000));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (4096, 77));
    }

    #[test]
    fn this_very_program_has_memory_threads_and_descriptors() {
        let usage = Usage::read().unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.resident_bytes < usage.virtual_bytes);
        assert!(usage.threads >= 1 && usage.open_descriptors >= 3);
        assert!(usage.descriptors_limit >= usage.open_descriptors);
        assert!(usage.started_at_seconds > 1.0e9);
    }
}
