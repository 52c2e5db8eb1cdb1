//! Rows that lie beside those in force.

use std::collections::BTreeMap;

/// Rows and their bytes, by the number that their keys begin with.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<u16, (u64, u64)>);

impl Left {
    pub(super) fn count(&mut self, number: u16, bytes: u64) {
        let (rows, sum) = self.0.entry(number).or_default();
        *rows += 1;
        *sum += bytes;
    }

    /// A sentence for each number.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(number, (rows, bytes))| match number {
            0x8000..=0xfffe => {
                format!("left        under {number:#06x}: {rows} rows, {bytes} bytes, staged or replaced")
            }
            slot => format!(
                "left        under {slot:#06x}: {rows} rows, {bytes} bytes of before slot {slot} was replaced"
            ),
        })
    }
}
