//! Looks at shards from a thread of its own, which no shard can hold up. A step that takes long is counted and said; one
//! that burns and does not end is the end of the process: a supervisor starts it again, while a shard that is stuck
//! would keep its Clients for ever.

mod rule;

use convoy_actors::{Beat, Pulse};
use rustix::thread::Pid;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Liveness;
use crate::listen::LogLimit;
use crate::observe::{logs, metrics};
use rule::{Look, Rule, Took, Verdict};

const EVERY: Duration = Duration::from_millis(50);

/// How long a process that ends has to answer that it is not alive, and a thread to end it.
const LAST: Duration = Duration::from_secs(1);

/// Where threads say that they want to be watched.
#[derive(Clone, Default)]
pub struct Watchdog(Arc<Mutex<Vec<Watched>>>);

struct Watched {
    thread: Pid,
    name: String,
    pulse: Pulse,
    rule: Option<Rule>,
}

impl Watchdog {
    /// Starts to watch. A step may use so much time of a processor.
    pub fn start(limit: Duration, liveness: Liveness) -> io::Result<Self> {
        let watchdog = Self::default();
        let watched = watchdog.clone();
        thread::Builder::new()
            .name("convoy-watchdog".to_owned())
            .spawn(move || watched.run(limit, &liveness, &LogLimit::default()))?;
        Ok(watchdog)
    }

    /// Watches the thread that calls this, which tells by `pulse` what it does.
    pub fn watch_me(&self, name: &str, pulse: Pulse) {
        let thread = rustix::thread::gettid();
        if cpu_time(thread).is_none() {
            tracing::warn!(
                thread = name,
                "the kernel does not tell the time of this thread: it is not watched"
            );
        }
        let watched = Watched { thread, name: name.to_owned(), pulse, rule: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    fn run(&self, limit: Duration, liveness: &Liveness, log: &LogLimit) {
        let begin = Instant::now();
        loop {
            thread::sleep(EVERY);
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A thread that has ended is told of by its own guard.
            all.retain_mut(|watched| {
                let Some(cpu) = cpu_time(watched.thread) else { return false };
                watched.look(begin.elapsed(), cpu, limit, liveness, log);
                true
            });
        }
    }
}

impl Watched {
    fn look(&mut self, at: Duration, cpu: Duration, limit: Duration, liveness: &Liveness, log: &LogLimit) {
        let beat = self.pulse.read();
        let step = (beat.activity != convoy_actors::Activity::Rest).then_some(beat.step);
        match self.rule.get_or_insert_with(|| Rule::new(limit)).look(Look { at, step, cpu }) {
            Verdict::Fine => {}
            Verdict::Slow(took) => {
                let doing = beat.activity.as_str();
                ::metrics::counter!(metrics::SLOW_STEPS, "doing" => doing).increment(1);
                log.say(Instant::now(), |unsaid| self.say_slow(beat, took, unsaid));
            }
            Verdict::Stuck(took) => self.end_the_process(beat, took, liveness),
        }
    }

    fn say_slow(&self, beat: Beat, took: Took, unsaid: u64) {
        let (time_ms, cpu_ms) = (took.time.as_millis() as u64, took.cpu.as_millis() as u64);
        let doing = beat.activity.as_str();
        tracing::warn!(thread = self.name, doing, of = beat.of, time_ms, cpu_ms, unsaid, "a step takes long");
    }

    /// `/livez` fails, the log says what was being done, and the thread ends the process where it stands, so that a core
    /// file shows it.
    fn end_the_process(&self, beat: Beat, took: Took, liveness: &Liveness) -> ! {
        let (doing, cpu_ms) = (beat.activity.as_str(), took.cpu.as_millis() as u64);
        liveness.lost(format!("{} is stuck in {doing} of {}", self.name, beat.of));
        tracing::error!(
            thread = self.name,
            doing,
            of = beat.of,
            step = beat.step,
            cpu_ms,
            "a shard is stuck: the process ends, for its supervisor to start it again"
        );
        thread::sleep(LAST);
        logs::finish();
        abort_in(self.thread);
        thread::sleep(LAST);
        std::process::abort();
    }
}

/// Time of a processor that a thread of this process has had. `None` if it has ended.
fn cpu_time(thread: Pid) -> Option<Duration> {
    let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Ends the process by a signal to this thread of it.
fn abort_in(thread: Pid) {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: numbers alone are passed, and whatever becomes of it the process is about to end.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_tgkill, process, thread.as_raw_nonzero().get(), libc::SIGABRT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_is_its_own() {
        let me = rustix::thread::gettid();
        let before = cpu_time(me).expect("this thread runs");
        thread::sleep(Duration::from_millis(200));
        let slept = cpu_time(me).expect("this thread runs");
        assert!(slept - before < Duration::from_millis(100), "sleeping took {:?}", slept - before);
        let began = Instant::now();
        let mut burnt = Duration::ZERO;
        while burnt < Duration::from_millis(100) && began.elapsed() < Duration::from_secs(60) {
            burnt = cpu_time(me).expect("this thread runs") - slept;
        }
        assert!(burnt >= Duration::from_millis(100));
        let gone = thread::spawn(rustix::thread::gettid).join().expect("it ends");
        // The kernel may take a moment to forget it.
        let forgotten = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(10));
            cpu_time(gone).is_none()
        });
        assert!(forgotten);
    }
}
