//! Invariant 15: memory and descriptors stay bounded, by so much for each thing that the Server has to remember.

use std::fmt;

use super::Violation;

const NAME: &str = "15 bounds";

/// Resident memory before and after a number of things came to be.
#[derive(Clone, Debug)]
pub struct Growth {
    pub of: &'static str,
    pub count: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub bytes_limit_each: u64,
    /// What caches and buffers of fixed size may take besides, however much there is to remember.
    pub bytes_fixed: u64,
}

impl Growth {
    pub fn bytes(&self) -> u64 {
        self.bytes_after.saturating_sub(self.bytes_before)
    }

    pub fn limit(&self) -> u64 {
        self.count * self.bytes_limit_each + self.bytes_fixed
    }

    pub fn check(&self) -> Option<Violation> {
        (self.bytes() > self.limit()).then(|| Violation {
            invariant: NAME,
            at: 0,
            said: format!("{self}, more than {} bytes", self.limit()),
        })
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.bytes() as f64 / self.count.max(1) as f64;
        write!(
            f,
            "{} {}: resident memory grew by {:.1} MB, {each:.1} bytes each (limit {} and {:.0} MB fixed)",
            self.count,
            self.of,
            self.bytes() as f64 / 1e6,
            self.bytes_limit_each,
            self.bytes_fixed as f64 / 1e6,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Growth;

    fn growth(bytes_after: u64) -> Growth {
        Growth {
            of: "queued messages",
            count: 1000,
            bytes_before: 5000,
            bytes_after,
            bytes_limit_each: 100,
            bytes_fixed: 20_000,
        }
    }

    #[test]
    fn growth_over_the_limit_is_caught() {
        assert_eq!(growth(125_000).check(), None);
        assert_eq!(growth(1000).check(), None, "memory given back is no growth");
        assert!(growth(125_001).check().is_some());
    }
}
