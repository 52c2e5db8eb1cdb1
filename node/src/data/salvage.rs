//! `convoy data salvage`: what can be read of a damaged folder becomes a folder that a node starts on, with a list of what
//! was lost. The old folder is read and left as it is.

use anyhow::{Context, ensure};
use convoy_actors::inventory::{self, Inventory};
use convoy_ids::SlotId;
use convoy_storage::engine::rocks::{self, Gap, LogEnd, OpenError, ReadOnly, Rebuilt, Rocks};
use convoy_storage::engine::{Batch, Engine, Family, Generations};
use convoy_storage::in_force::{Belongs, InForce};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use super::left::Left;
use crate::boot::{self, DataLayout as Layout, Identity};

/// Bytes that are written at once.
const BATCH_BYTES: usize = 4 << 20;

/// The list of what was lost, in the new folder.
const LIST: &str = "SALVAGE.txt";

/// Where a list of files is made anew, in the new folder. It goes when that is done.
const SCRATCH: &str = "rebuilt";

/// # Errors
///
/// The old folder cannot be read at all, a node works in it, or the new one is not empty. What was written of the new
/// folder is of no use then.
pub fn run(from: &Path, to: &Path) -> anyhow::Result<ExitCode> {
    let is_empty = !to.exists() || fs::read_dir(to)?.next().is_none();
    ensure!(is_empty, "{} is not empty: name a folder that is, or is not there", to.display());
    boot::begin_private();
    let unreadable = || format!("{} cannot be read", from.display());
    let scratch = to.join(SCRATCH);
    let (old, rebuilt) = match ReadOnly::open(from) {
        Ok(old) => (old, None),
        // The list of files is damaged: without it nothing is opened, and the files may be as they were.
        Err(OpenError::Damaged { place, reason }) => {
            let made = rocks::rebuild(from, &scratch).with_context(unreadable)?;
            let note = format!(
                "{place} was damaged, so tables and logs were read as they lie: what had been deleted may be back\n({reason})\n"
            );
            (ReadOnly::open_rebuilt(&scratch).with_context(unreadable)?, Some((made, note)))
        }
        Err(error) => return Err(error).with_context(unreadable),
    };
    let layout = Identity::layout_of(&*old.engine)
        .with_context(|| format!("who the node of {} was cannot be read", from.display()))?;
    let new = Rocks::open(to, &rocks::Options::default())
        .with_context(|| format!("{} cannot be made", to.display()))?;
    let in_force = InForce::find(old.engine.clone()).with_context(unreadable)?;
    let mut salvage = Salvage {
        old: &old,
        in_force: &in_force,
        old_rows: in_force.rows(),
        new: &new,
        left: Left::default(),
        lost: BTreeMap::new(),
        damaged: BTreeSet::new(),
        rows: 0,
        note: None,
    };
    salvage.note = in_force.damage().iter().map(|damage| format!("{damage}\n")).reduce(|all, one| all + &one);
    match rebuilt {
        None => salvage.end_of_log(&old.log),
        Some((Rebuilt { log, lost }, note)) => {
            salvage.note = Some(note + salvage.note.as_deref().unwrap_or_default());
            for table in lost {
                let what = format!("all that was in {}, which cannot be read at all", table.display());
                salvage.lost.insert((SlotId(0), what), 1);
                // Whose it was nobody knows.
                salvage.damaged.extend(slots(&layout));
            }
            salvage.end_of_log(&log);
        }
    }
    for family in Family::ALL {
        salvage.copy(family, &layout)?;
    }
    for (slot, what) in convoy_actors::mend(&new, layout.slots, &salvage.damaged)? {
        *salvage.lost.entry((slot, what)).or_insert(0) += 1;
    }
    Identity::raise_starts(&new)?;
    new.sync()?;
    copy_others(from, to)?;
    let told = salvage.tell(from, to);
    drop(old);
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    told
}

struct Salvage<'a> {
    old: &'a ReadOnly,
    /// Slots that were replaced have their rows under other numbers; in the new folder each has its own.
    in_force: &'a InForce,
    old_rows: Generations,
    new: &'a Rocks,
    /// Rows lost, by slot and whose they were.
    lost: BTreeMap<(SlotId, String), u64>,
    damaged: BTreeSet<SlotId>,
    rows: u64,
    /// Rows that are in force nowhere, and stay where they are.
    left: Left,
    /// What there is to say beside the list.
    note: Option<String>,
}

impl Salvage<'_> {
    fn end_of_log(&mut self, log: &LogEnd) {
        if let LogEnd::Damaged { file, offset } = log {
            let what = format!("all that was written after offset {offset} of {}", file.display());
            self.lost.insert((SlotId(0), what), 1);
        }
    }

    /// Copies the rows that can be read and are what they should be.
    fn copy(&mut self, family: Family, layout: &Layout) -> anyhow::Result<()> {
        let (mut batch, mut wrong, mut failure) = (Batch::new(), Vec::new(), None);
        let gaps = self.old.engine.survey(family, b"", b"", &mut |key, value| {
            match self.in_force.of(family, key) {
                Belongs::Nothing(number) => {
                    self.left.count(number, (key.len() + value.len()) as u64);
                    return ControlFlow::Continue(());
                }
                Belongs::Generation => return ControlFlow::Continue(()),
                Belongs::Node => batch.put(family, key, value),
                Belongs::Slot(slot) => {
                    let shown = InForce::shown(key, slot);
                    if inventory::check_row(family, &shown, value).is_err() {
                        wrong.push(shown);
                        return ControlFlow::Continue(());
                    }
                    batch.put(family, &shown, value);
                }
            }
            self.rows += 1;
            if batch.size_bytes() > BATCH_BYTES {
                if let Err(error) = self.new.write(&batch) {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
                batch.clear();
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        let mut damaged = BTreeSet::new();
        for gap in &gaps {
            damaged.extend(slots_of(gap, layout, self.in_force));
            if gap.keys.is_empty() {
                self.note(family, &gap.after);
            }
            for key in &gap.keys {
                match self.in_force.of(family, key) {
                    Belongs::Slot(slot) => self.note(family, &InForce::shown(key, slot)),
                    Belongs::Nothing(number) => self.left.count(number, key.len() as u64),
                    Belongs::Node | Belongs::Generation => self.note(family, key),
                }
            }
        }
        for key in &wrong {
            damaged.extend(inventory::slot_of(key));
            self.note(family, key);
        }
        if family == Family::Log {
            // A log with a gap is none: what was applied of it stands in the other families.
            for slot in &damaged {
                let (from, to) = (slot.0.to_be_bytes(), slot.0.checked_add(1).map(u16::to_be_bytes));
                batch.delete_range(family, &from, to.as_ref().map_or(&[0xff; 12][..], |to| &to[..]));
            }
        }
        self.new.write(&batch)?;
        self.damaged.append(&mut damaged);
        Ok(())
    }

    fn note(&mut self, family: Family, key: &[u8]) {
        let slot = inventory::slot_of(key).unwrap_or(SlotId(0));
        let whose = Inventory::new(&self.old_rows).name(family, key);
        *self.lost.entry((slot, whose)).or_insert(0) += 1;
    }

    fn tell(&self, from: &Path, to: &Path) -> anyhow::Result<ExitCode> {
        let mut text = match self.lost.is_empty() {
            true => format!("nothing of {} was lost\n", from.display()),
            false => format!(
                "what was lost of {}, by slot, rows and whose they were (keys of damaged blocks were read without proof)\n",
                from.display()
            ),
        };
        if let Some(note) = &self.note {
            text.insert_str(0, note);
        }
        for ((slot, whose), rows) in &self.lost {
            text.push_str(&format!("slot {slot}: {rows}: {whose}\n"));
        }
        for line in self.left.lines() {
            text.push_str(&format!("{line}; not taken over\n"));
        }
        let mut list = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to.join(LIST))?;
        list.write_all(text.as_bytes())?;
        list.sync_all()?;
        let out = &mut io::stdout().lock();
        out.write_all(text.as_bytes())?;
        writeln!(out, "{} rows are in {}; this list is its {LIST}", self.rows, to.display())?;
        writeln!(out, "start the node on it with --data, and never again on {}", from.display())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Files that are not the database's: users, and the key of the API.
fn copy_others(from: &Path, to: &Path) -> io::Result<()> {
    const NAMES: [&str; 4] = ["CURRENT", "LOCK", "IDENTITY", LIST];
    const BEGINS: [&str; 4] = ["MANIFEST-", "OPTIONS-", "LOG", "DAMAGE"];
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_database = NAMES.contains(&&name[..])
            || BEGINS.iter().any(|begin| name.starts_with(begin))
            || [".sst", ".log", ".dbtmp"].iter().any(|end| name.ends_with(end));
        if entry.file_type()?.is_file() && !is_database {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

/// The slots that may have lost rows in a gap: those between the rows around it.
fn slots_of(gap: &Gap, layout: &Layout, in_force: &InForce) -> Vec<SlotId> {
    let number = |key: &[u8]| inventory::slot_of(key).map(|slot| slot.0);
    let first = number(&gap.after).unwrap_or(0);
    let last = number(&gap.before).unwrap_or(u16::MAX);
    slots(layout).filter(|slot| (first..=last).contains(&in_force.number_of(*slot))).collect()
}

fn slots(layout: &Layout) -> impl Iterator<Item = SlotId> + use<> {
    (0..layout.slots).map(SlotId).chain([SlotId::META])
}
