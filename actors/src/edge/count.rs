//! What is counted for each message, for the metrics. A metric belongs to all threads: to add to it is a locked
//! instruction, and shards would take its cache line from each other. So a shard counts by itself, and tells once a turn.

use metrics::Counter;

#[derive(Debug)]
pub struct Count {
    counter: Counter,
    untold: u64,
}

impl Count {
    pub fn new(counter: Counter) -> Self {
        Self { counter, untold: 0 }
    }

    #[inline]
    pub fn add(&mut self, number: u64) {
        self.untold += number;
    }

    pub fn tell(&mut self) {
        if self.untold > 0 {
            self.counter.increment(std::mem::take(&mut self.untold));
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.tell();
    }
}
