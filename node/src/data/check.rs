//! `convoy data check`: reads every row, and says which cannot be read, whose they are and in which file they lie.

use anyhow::Context;
use convoy_actors::inventory::{self, Inventory};
use convoy_storage::engine::Family;
use convoy_storage::engine::rocks::{LogEnd, OpenError, ReadOnly};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use super::exit;

/// Lines about what was lost, of one file; what is beyond is counted.
const LINES: usize = 200;

/// What was found of one family.
#[derive(Debug, Default)]
struct Found {
    rows: u64,
    bytes: u64,
    /// Damaged rows, by place and reason, slot, and whose they are.
    damaged: BTreeMap<(String, u16, String), u64>,
}

/// # Errors
///
/// The folder cannot be looked at: it is not there, no database, or a node works in it.
pub fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    let out = &mut io::stdout().lock();
    let opened = match ReadOnly::open(folder) {
        Ok(opened) => opened,
        // Nothing behind it is read: it takes a new list of files, and that changes the folder or makes another.
        Err(error @ OpenError::Damaged { .. }) => {
            writeln!(out, "{error}")?;
            writeln!(out, "convoy data salvage makes a new folder of what the files hold, without it")?;
            return Ok(ExitCode::from(exit::DAMAGED));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be checked", folder.display()));
        }
    };
    let mut whole = tell_log(&opened.log, out)?;
    for family in Family::ALL {
        let found = read(&opened, family)?;
        let damaged: u64 = found.damaged.values().sum();
        let name = family.name();
        writeln!(out, "{name:<12}{} rows, {} MiB, {damaged} damaged", found.rows, found.bytes >> 20)?;
        for (line, ((place, slot, whose), rows)) in found.damaged.iter().enumerate() {
            if line == LINES {
                writeln!(out, "            and {} more like these", found.damaged.len() - LINES)?;
                break;
            }
            writeln!(out, "            {place}: slot {slot}: {rows} rows, {whose}")?;
        }
        whole &= found.damaged.is_empty();
    }
    if whole {
        writeln!(out, "all of {} can be read", folder.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} is damaged", folder.display())?;
    Ok(ExitCode::from(exit::DAMAGED))
}

fn tell_log(log: &LogEnd, out: &mut impl Write) -> io::Result<bool> {
    let at = "write-ahead";
    match log {
        LogEnd::Whole => writeln!(out, "{at:<12}whole")?,
        LogEnd::Torn { file, offset } => {
            writeln!(out, "{at:<12}{} ends torn at {offset}, as after every crash", file.display())?;
        }
        LogEnd::Damaged { file, offset } => {
            let file = file.display();
            writeln!(
                out,
                "{at:<12}{file} is damaged at {offset}: what follows is not read and not counted here"
            )?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(opened: &ReadOnly, family: Family) -> anyhow::Result<Found> {
    let engine = &opened.engine;
    let inventory = Inventory::new(engine);
    let (mut found, mut wrong) = (Found::default(), Vec::new());
    let gaps = engine.survey(family, b"", b"", &mut |key, value| {
        found.rows += 1;
        found.bytes += (key.len() + value.len()) as u64;
        if let Err(reason) = inventory::check_row(family, key, value) {
            wrong.push((key.to_vec(), reason));
        }
        ControlFlow::Continue(())
    })?;
    let mut count = |place: String, key: &[u8]| {
        let slot = inventory::slot_of(key).map_or(0, |slot| slot.0);
        *found.damaged.entry((place, slot, inventory.name(family, key))).or_insert(0) += 1;
    };
    for (key, reason) in wrong {
        count(format!("a row whose bytes are not what was written ({reason})"), &key);
    }
    for gap in gaps {
        if gap.keys.is_empty() {
            count(format!("{}, of which not even the keys can be read", gap.place), &gap.after);
        }
        gap.keys.iter().for_each(|key| count(gap.place.clone(), key));
    }
    Ok(found)
}
