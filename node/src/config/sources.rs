//! Where values come from: a TOML file, the environment, flags. All three end in one tree of values that
//! remember their origin, so that a wrong one can be named by file and line, variable or flag.
//!
//! A later source hides an earlier one but does not excuse it: what was hidden is kept and still checked.

use super::{Problem, Problems};
use crate::file;
use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};
use toml::de::{DeTable, DeValue};

/// Who said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: Arc<str>, line: usize },
    Environment(Arc<str>),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Located>),
    Table(Table),
    /// Text of the environment or of a flag: what it means is for the key that reads it to say.
    Bare(String),
    /// A type of TOML that no key takes, by its name.
    Other(&'static str),
}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Bare(_) => "text",
            Self::Other(name) => name,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    pub value: Value,
    pub origin: Origin,
}

/// One key: the value that counts, and those it hides.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub effective: Located,
    pub hidden: Vec<Located>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Lays `value` over whatever `section.key` holds.
    pub fn lay(&mut self, section: &str, key: &str, value: Value, origin: Origin) {
        let located = Located { value, origin: origin.clone() };
        let entry = self.entries.entry(section.to_owned()).or_insert_with(|| Entry {
            effective: Located { value: Value::Table(Table::default()), origin },
            hidden: Vec::new(),
        });
        // A section that the file wrote as something else keeps its own complaint: see `load`.
        if let Value::Table(table) = &mut entry.effective.value {
            match table.entries.get_mut(key) {
                Some(entry) => {
                    let hidden = std::mem::replace(&mut entry.effective, located);
                    entry.hidden.push(hidden);
                }
                None => {
                    table.entries.insert(key.to_owned(), Entry { effective: located, hidden: Vec::new() });
                }
            }
        }
    }
}

/// What flags may say. Text, so that a wrong one is reported with all other wrong values.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub data: Option<String>,
    pub node: Option<String>,
    pub zone: Option<String>,
    pub mqtt: Vec<String>,
    pub mqtts: Vec<String>,
    pub ws: Vec<String>,
    pub wss: Vec<String>,
    pub api: Option<String>,
    pub peer: Option<String>,
    pub join: Option<String>,
    pub token: Option<String>,
}

impl Flags {
    pub(super) fn lay_over(&self, table: &mut Table) {
        let single = [
            ("node", "data", "--data", &self.data),
            ("node", "name", "--node", &self.node),
            ("node", "zone", "--zone", &self.zone),
            ("api", "addr", "--api", &self.api),
            ("peer", "addr", "--peer", &self.peer),
            ("peer", "join", "--join", &self.join),
            ("peer", "token", "--token", &self.token),
        ];
        for (section, key, flag, value) in single {
            if let Some(value) = value {
                table.lay(section, key, Value::Bare(value.clone()), Origin::Flag(flag));
            }
        }
        // Those of listeners replace the listeners of their kind alone: see `load/listeners`.
    }
}

/// The file as a tree; syntax errors become problems, and what could be read is read all the same.
pub(super) fn from_file(path: &Path, problems: &mut Problems) -> Table {
    match file::read_to_string(path, file::BYTES_LIMIT) {
        Ok(text) => from_text(&path.display().to_string(), &text, problems),
        Err(error) => {
            problems.push(Problem::general(format!("{}: cannot be read: {error}", path.display())));
            Table::default()
        }
    }
}

pub(super) fn from_text(path: &str, text: &str, problems: &mut Problems) -> Table {
    let file = File { path: path.into(), text };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = file.origin(error.span().map_or(0, |span| span.start));
        problems.push(Problem::at(origin, error.message().to_owned()));
    }
    file.table(root.get_ref())
}

struct File<'t> {
    path: Arc<str>,
    text: &'t str,
}

impl File<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        Origin::File { path: self.path.clone(), line: 1 + before.iter().filter(|b| **b == b'\n').count() }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            // The line of the key: a value may begin further down, a key never does.
            let origin = self.origin(key.span().start);
            let effective = Located { value: self.value(value.get_ref()), origin };
            (String::from(key.get_ref() as &str), Entry { effective, hidden: Vec::new() })
        };
        Table { entries: table.iter().map(|(k, v)| entry((k, v))).collect() }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("an integer out of range"),
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Located {
                        value: self.value(item.get_ref()),
                        origin: self.origin(item.span().start),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Lays every `CONVOY_SECTION__KEY` over the tree.
///
/// Variables without the double underscore are none of ours (an orchestrator sets `CONVOY_PORT` for a service
/// called convoy) unless they spell a key of ours with one underscore too few: `load` names those.
pub(super) fn lay_environment(
    table: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut unsplit = Vec::new();
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let path = name[PREFIX.len()..].to_ascii_lowercase();
        let parts: Vec<&str> = path.split("__").collect();
        match parts[..] {
            [_] => unsplit.push(name),
            [section, key] if !section.is_empty() && !key.is_empty() => {
                table.lay(section, key, Value::Bare(value), Origin::Environment(name.into()));
            }
            _ => problems.push(Problem::at(
                Origin::Environment(name.into()),
                "a variable is written CONVOY_SECTION__KEY".to_owned(),
            )),
        }
    }
    unsplit
}

pub(super) const PREFIX: &str = "CONVOY_";

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'t>(table: &'t Table, section: &str, key: &str) -> &'t Entry {
        match &table.entries[section].effective.value {
            Value::Table(table) => &table.entries[key],
            other => panic!("{section} is {}", other.kind()),
        }
    }

    #[test]
    fn values_of_a_file_know_their_line() {
        let mut problems = Problems::default();
        let table = from_text("c.toml", "# head\n[node]\nname = \"n1\"\n\nshards = 0x10\n", &mut problems);
        assert!(problems.is_empty());
        let shards = &value(&table, "node", "shards").effective;
        assert_eq!(shards.value, Value::Integer(16));
        assert_eq!(shards.origin.to_string(), "c.toml:5");
    }

    #[test]
    fn what_is_hidden_is_kept() {
        let mut problems = Problems::default();
        let mut table = from_text("c.toml", "[node]\nname = \"file\"\n", &mut problems);
        let variables = [("CONVOY_NODE__NAME".to_owned(), "environment".to_owned())];
        lay_environment(&mut table, variables, &mut problems);
        Flags { node: Some("flag".to_owned()), ..Flags::default() }.lay_over(&mut table);

        let name = value(&table, "node", "name");
        assert_eq!(name.effective.value, Value::Bare("flag".to_owned()));
        let hidden: Vec<_> = name.hidden.iter().map(|located| located.origin.to_string()).collect();
        assert_eq!(hidden, ["c.toml:2", "CONVOY_NODE__NAME"]);
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_line() {
        let mut problems = Problems::default();
        from_text("c.toml", "[node]\nname = \nzone = \"a\nshards = 1\n", &mut problems);
        let lines: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
        assert!(lines.iter().any(|line| line.starts_with("c.toml:2: ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("c.toml:3: ")), "{lines:?}");
    }

    #[test]
    fn variables_with_other_shapes_are_told_apart() {
        let mut problems = Problems::default();
        let mut table = Table::default();
        let variables = ["CONVOY_LOG", "CONVOY_PORT", "CONVOY_A__B__C", "CONVOY___X", "HOME"]
            .map(|name| (name.to_owned(), "v".to_owned()));
        let unsplit = lay_environment(&mut table, variables, &mut problems);
        assert_eq!(unsplit, ["CONVOY_LOG", "CONVOY_PORT"]);
        assert_eq!(problems.len(), 2);
        assert_eq!(table, Table::default());
    }
}
