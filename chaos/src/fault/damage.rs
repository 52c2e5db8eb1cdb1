//! Damage: bits flipped in files of a node that is down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sim::seed::Stream;

/// Files under `folder` whose names end with one of `suffixes`, not empty, in a stable order.
pub fn files(folder: &Path, suffixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && entry.metadata()?.len() > 0
                && suffixes.iter().any(|suffix| entry.file_name().to_string_lossy().ends_with(suffix))
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One bit in each of `count` places between `from` and `to`, which are parts of the file's length in percent.
pub fn flip(file: &Path, count: u64, (from, to): (u64, u64), chance: &mut Stream) -> io::Result<Vec<u64>> {
    let mut bytes = fs::read(file)?;
    let length = bytes.len() as u64;
    let (low, high) = (length * from / 100, (length * to / 100).clamp(1, length) - 1);
    let mut places = Vec::new();
    for _ in 0..count {
        let place = chance.between(low.min(high), high);
        bytes[place as usize] ^= 1 << chance.below(8);
        places.push(place);
    }
    fs::write(file, bytes)?;
    Ok(places)
}

/// Writes other bytes over `count` of them, at a part of the file's length in percent.
pub fn spoil(file: &Path, percent: usize, count: usize) -> io::Result<()> {
    let mut bytes = fs::read(file)?;
    let at = bytes.len() * percent / 100;
    bytes[at..at + count].iter_mut().for_each(|byte| *byte ^= 0xa5);
    fs::write(file, bytes)
}

/// The largest table of a family of rows: its properties name that, where a value follows the end of its own name.
pub fn table_of(folder: &Path, family: &str) -> io::Result<Option<PathBuf>> {
    let named = format!("name{family}");
    let mut tables = files(folder, &[".sst"])?;
    tables.retain(|file| find(file, named.as_bytes()).is_ok_and(|found| found.is_some()));
    let length = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    Ok(tables.into_iter().max_by_key(length))
}

/// Waits until a node that runs has had the same tables for a second: compactions that were due are done, and no table is
/// left that nothing is read from any more. Damage to such a one would harm nobody.
pub async fn quiet(folder: &Path) -> io::Result<()> {
    let mut before = Vec::new();
    loop {
        let tables = files(folder, &[".sst"])?;
        if tables == before {
            return Ok(());
        }
        before = tables;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Where `needle` stands in the file.
pub fn find(file: &Path, needle: &[u8]) -> io::Result<Option<usize>> {
    let bytes = fs::read(file)?;
    Ok(bytes.windows(needle.len()).position(|window| window == needle))
}

/// Flips one bit at `place`.
pub fn flip_at(file: &Path, place: usize, bit: u8) -> io::Result<()> {
    let mut bytes = fs::read(file)?;
    bytes[place] ^= 1 << (bit % 8);
    fs::write(file, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seed::Seed;

    #[test]
    fn flipped_file_differs_in_the_places_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("000001.log");
        fs::write(&file, [0_u8; 100]).expect("room");
        let places = flip(&file, 1, (50, 60), &mut Seed(3).stream("damage")).expect("a file");
        let bytes = fs::read(&file).expect("a file");
        let changed: Vec<u64> = (0..100).filter(|&at| bytes[at as usize] != 0).collect();
        assert_eq!(changed, places);
        assert!((50..60).contains(&places[0]));
        assert_eq!(files(folder.path(), &[".log"]).expect("a folder"), [file]);
    }
}
