//! A text that costs something to make, made once for all who ask for it within a moment.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shorter than anybody scrapes.
const MOMENT: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Lately(Mutex<Option<(Instant, Bytes)>>);

impl Lately {
    pub fn get(&self, make: impl FnOnce() -> String) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, text)) if at.elapsed() < MOMENT => text.clone(),
            _ => {
                let text = Bytes::from(make());
                *made = Some((Instant::now(), text.clone()));
                text
            }
        }
    }
}
