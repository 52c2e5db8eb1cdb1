//! `convoy data check`: reads every row, and says which cannot be read, whose they are and in which file they lie; and what
//! lies beside the rows that are in force.

use anyhow::Context;
use convoy_actors::inventory::{self, Inventory};
use convoy_storage::engine::rocks::{LogEnd, OpenError, ReadOnly, Rocks};
use convoy_storage::engine::{Family, Generations};
use convoy_storage::in_force::{Belongs, InForce};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use super::{exit, left::Left};

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
    let is_whole = tell(folder, &mut io::stdout().lock())?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(exit::DAMAGED) })
}

/// Tells what is found; whether all is whole.
pub(super) fn tell(folder: &Path, out: &mut impl Write) -> anyhow::Result<bool> {
    let opened = match ReadOnly::open(folder) {
        Ok(opened) => opened,
        // Nothing behind it is read: it takes a new list of files, and that changes the folder or makes another.
        Err(error @ OpenError::Damaged { .. }) => {
            writeln!(out, "{error}")?;
            writeln!(out, "convoy data salvage makes a new folder of what the files hold, without it")?;
            return Ok(false);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be checked", folder.display()));
        }
    };
    let mut whole = tell_log(&opened.log, out)?;
    let in_force = InForce::find(opened.engine.clone())?;
    let (rows, mut left) = (in_force.rows(), Left::default());
    for damage in in_force.damage() {
        writeln!(out, "{:<12}{damage}", "generations")?;
        whole = false;
    }
    for family in Family::ALL {
        let found = read(&opened.engine, &in_force, &rows, family, &mut left)?;
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
    left.lines().try_for_each(|line| writeln!(out, "{line}; the next start deletes them"))?;
    match whole {
        true => writeln!(out, "all of {} can be read", folder.display())?,
        false => {
            let folder = folder.display();
            let way_out = "makes a folder of what can be read";
            writeln!(out, "{folder} is damaged: convoy data salvage --from {folder} --to NEW {way_out}")?;
        }
    }
    Ok(whole)
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

fn read(
    engine: &Rocks,
    in_force: &InForce,
    rows: &Generations,
    family: Family,
    left: &mut Left,
) -> anyhow::Result<Found> {
    let inventory = Inventory::new(rows);
    let (mut found, mut wrong) = (Found::default(), Vec::new());
    let gaps = engine.survey(family, b"", b"", &mut |key, value| {
        let bytes = (key.len() + value.len()) as u64;
        let checked = match in_force.of(family, key) {
            Belongs::Nothing(number) => {
                left.count(number, bytes);
                return ControlFlow::Continue(());
            }
            Belongs::Slot(slot) => {
                let shown = InForce::shown(key, slot);
                inventory::check_row(family, &shown, value).map_err(|reason| (shown, reason))
            }
            Belongs::Node | Belongs::Generation => Ok(()),
        };
        found.rows += 1;
        found.bytes += bytes;
        wrong.extend(checked.err());
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
        for key in &gap.keys {
            // A compaction meets it all the same, whatever the row was.
            match in_force.of(family, key) {
                Belongs::Slot(slot) => count(gap.place.clone(), &InForce::shown(key, slot)),
                Belongs::Nothing(_) => {
                    count(format!("{}, of rows that are in force nowhere", gap.place), key)
                }
                Belongs::Node | Belongs::Generation => count(gap.place.clone(), key),
            }
        }
    }
    Ok(found)
}
