//! Writes what is logged from a thread of its own: whoever has something to tell neither waits for the reader of the log
//! nor fails with it. What cannot be told is counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::metrics::LOG_LINES_LOST;

/// Bytes of lines that wait to be written. What comes beyond is lost: whoever reads the log has stopped.
const BYTES: usize = 1 << 20;

/// The end of the log. Cheap to clone.
#[derive(Clone, Default)]
pub struct Teller(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// A line was taken and is not written yet.
    writes: bool,
}

impl Teller {
    /// Begins to write to `out`.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let teller = Self::default();
        let shared = Arc::clone(&teller.0);
        thread::Builder::new().name("convoy-log".to_owned()).spawn(move || {
            loop {
                let line = shared.next();
                if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                    lost();
                }
                shared.lock().writes = false;
                shared.changed.notify_all();
            }
        })?;
        Ok(teller)
    }

    /// Returns when everything was written, or when `patience` is over.
    pub fn finish(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut waiting = self.0.lock();
        while waiting.writes || !waiting.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.0.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
            waiting = woken.0;
        }
    }

    fn tell(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.bytes + line.len() > BYTES {
            drop(waiting);
            return lost();
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Box<[u8]> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writes = true;
                return line;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One write is one line, and never fails.
impl Write for Teller {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.tell(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lost() {
    metrics::counter!(LOG_LINES_LOST).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Writes when it is told to, and says what.
    struct Slow(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nobody_up_and_costs_no_more_than_the_bound() {
        let ((go, gate), (wrote, written)) = (mpsc::channel(), mpsc::channel());
        let mut teller = Teller::start(Slow(gate, wrote)).unwrap();
        let line = [b'x'; 1000];
        for _ in 0..10_000 {
            teller.write_all(&line).unwrap();
        }
        assert!(teller.0.lock().bytes <= BYTES);
        teller.finish(Duration::ZERO);
        // What fits is told once the reader goes on: the bound, and the line that was under way.
        drop((0..BYTES / 1000).map(|_| go.send(()).unwrap()).collect::<Vec<_>>());
        (0..BYTES / 1000).for_each(|_| assert_eq!(written.recv().unwrap(), line));
    }

    #[test]
    fn a_log_that_cannot_be_written_fails_nobody() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut teller = Teller::start(full).unwrap();
        teller.write_all(b"a line\n").unwrap();
        teller.write_all(b"another\n").unwrap();
        teller.finish(Duration::from_secs(30));
        assert!(teller.0.lock().lines.is_empty());
    }
}
