//! From values with an origin to [`Config`]: every key is read by the type it has, leftovers are unknown keys,
//! and each complaint names its place. Reading goes on after a complaint, so all of them come at once.

mod access;
mod features;
mod limits;
mod listeners;
mod shared_subscriptions;

use super::{
    AddressLimits, ApiOptions, Config, Error, Flags, FleetOptions, LimitsOptions, Listener, LogFormat,
    LogOptions, NodeOptions, Origin, PeerOptions, Problem, Problems, Profile, StorageOptions, check,
    sections::{NEVER, is_name},
    sources::{self, Entry, Located, Table, Value},
};
use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// The configuration with the source of each value.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub settings: Settings,
}

impl Loaded {
    /// Whether the files that are named can be used. Apart from the rest, because it needs the rights of the node.
    pub fn check_files(&self, in_date: bool) -> Result<(), Error> {
        let mut problems = Problems::default();
        check::check_files(&self.config, &self.settings, &mut problems, in_date);
        if problems.is_empty() { Ok(()) } else { Err(Error { problems }) }
    }
}

/// Every key by its full name, with its value as TOML and its origin.
#[derive(Debug, Default)]
pub struct Settings {
    keys: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    section: &'static str,
    /// Of a section that there may be several of: which one.
    item: Option<usize>,
    key: &'static str,
    /// None where nothing is said and there is no default.
    value: Option<String>,
    origin: Origin,
}

/// Keys with one of these in their name are shown to nobody.
const SECRETS: &[&str] = &["password", "secret", "token"];

impl Settings {
    /// Section, key, value and origin of each, with asterisks for what is secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &str, String)> {
        self.keys.iter().filter_map(|setting| {
            let is_secret = SECRETS.iter().any(|secret| setting.key.contains(secret));
            let value = setting.value.as_deref()?;
            let value = if is_secret { "***" } else { value };
            Some((setting.section, setting.key, value, setting.origin.to_string()))
        })
    }

    /// Every key that was asked for, also those without a value.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, &'static str, Option<&str>)> {
        self.keys.iter().map(|setting| (setting.section, setting.key, setting.value.as_deref()))
    }

    /// A key with its value and where that comes from, for a complaint about two of them.
    pub(super) fn said(&self, section: &str, key: &str) -> String {
        let is_it = |setting: &&Setting| (setting.section, setting.item, setting.key) == (section, None, key);
        let Some(setting) = self.keys.iter().find(is_it) else { return format!("{section}.{key}") };
        let value = setting.value.as_deref().unwrap_or("nothing");
        format!("{section}.{key} = {value} ({})", setting.origin)
    }

    pub(super) fn origin(&self, section: &str, key: &str) -> Origin {
        self.origin_in(section, None, key)
    }

    /// The same for the listener at this place.
    pub(super) fn listener_origin(&self, at: usize, key: &str) -> Origin {
        self.origin_in("mqtt.listeners", Some(at), key)
    }

    fn origin_in(&self, section: &str, item: Option<usize>, key: &str) -> Origin {
        let is_it = |setting: &&Setting| (setting.section, setting.item, setting.key) == (section, item, key);
        let setting = self.keys.iter().find(is_it);
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    }
}

/// TOML that can be used as a file again; the source of each value stands behind it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut header = None;
        for setting in &self.keys {
            let Some(value) = &setting.value else { continue };
            let own = (setting.section, setting.item);
            if header != Some(own) {
                let gap = if header.is_none() { "" } else { "\n" };
                header = Some(own);
                match setting.item {
                    None => writeln!(f, "{gap}[{}]", setting.section)?,
                    Some(_) => writeln!(f, "{gap}[[{}]]", setting.section)?,
                }
            }
            let line = format!("{} = {value}", setting.key);
            writeln!(f, "{line:<48} # {}", setting.origin)?;
        }
        Ok(())
    }
}

/// Reads file, environment and flags, the later over the earlier, and checks the whole.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Loaded, Error> {
    let mut problems = Problems::default();
    let table = file.map_or_else(Table::default, |path| sources::from_file(path, &mut problems));
    from_table(table, environment, flags, problems)
}

/// Reads the text of a file alone, without environment and flags, and checks it.
pub fn of_text(text: &str) -> Result<Config, Error> {
    let mut problems = Problems::default();
    let table = sources::from_text("the text", text, &mut problems);
    from_table(table, [], &Flags::default(), problems).map(|loaded| loaded.config)
}

fn from_table(
    mut table: Table,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
    mut problems: Problems,
) -> Result<Loaded, Error> {
    let unsplit = sources::lay_environment(&mut table, environment, &mut problems);
    flags.lay_over(&mut table);

    let mut reader = Reader { table, settings: Settings::default(), problems };
    let config = reader.config(flags);
    reader.refuse_leftovers();
    reader.refuse_unsplit(&unsplit);
    let Reader { settings, mut problems, .. } = reader;
    check::check(&config, &settings, &mut problems);

    if problems.is_empty() {
        return Ok(Loaded { config, settings });
    }
    // A reader walks through the file once.
    problems.sort_by_key(|problem| problem.line().unwrap_or(usize::MAX));
    Err(Error { problems })
}

struct Reader {
    table: Table,
    settings: Settings,
    problems: Problems,
}

impl Reader {
    fn config(&mut self, flags: &Flags) -> Config {
        let tls = self.tls();
        Config {
            node: self.node(),
            fleet: self.fleet(),
            peer: self.peer(),
            mqtt: self.mqtt(&tls, flags),
            api: self.api(),
            auth: self.auth(),
            access: self.access(),
            limits: self.limits(),
            shared_subscriptions: self.shared_subscriptions(),
            features: self.features(),
            storage: self.storage(),
            log: self.log(),
        }
    }

    fn node(&mut self) -> NodeOptions {
        let mut options = NodeOptions::default();
        let mut section = self.section("node");
        section.name("name", &mut options.name);
        section.name("zone", &mut options.zone);
        section.read("data", &mut options.data, path, |path| quote(&path.display().to_string()));
        section.number("shards", &mut options.shards, 0..=1024);
        section.read("server_reference", &mut options.server_reference, server_reference, |server| {
            quote(server.as_deref().unwrap_or(""))
        });
        section.duration("sys_interval", &mut options.sys_interval, Duration::ZERO..=SECOND * 86_400);
        section.duration("step_limit", &mut options.step_limit, SECOND..=HOUR);
        section.number("handshake_threads", &mut options.handshake_threads, 0..=1024);
        section.end();
        options
    }

    fn fleet(&mut self) -> FleetOptions {
        let mut options = FleetOptions::default();
        let mut section = self.section("fleet");
        section.number("slots", &mut options.slots, 1..=16_384);
        section.number("partitions", &mut options.partitions, 1..=1024);
        section.number("partition_levels", &mut options.partition_levels, 1..=16);
        section.number("replicas", &mut options.replicas, 1..=7);
        section.duration("replace_after", &mut options.replace_after, SECOND * 10..=HOUR * 24 * 365);
        section.end();
        options
    }

    fn peer(&mut self) -> PeerOptions {
        let mut options = PeerOptions::default();
        let mut section = self.section("peer");
        section.optional("addr", &mut options.addr, addr, |addr| quote(&addr.to_string()));
        section.optional("advertise", &mut options.advertise, endpoint, |at| quote(at));
        section.read("join", &mut options.join, endpoints, |join| listeners::show_texts(join));
        // Whoever may read the configuration is not to become a member by it.
        section.optional("token", &mut options.token, token, |_| quote("(hidden)"));
        section.end();
        options
    }

    fn api(&mut self) -> ApiOptions {
        let mut options = ApiOptions::default();
        let mut section = self.section("api");
        section.read("addr", &mut options.addr, addr, |addr| quote(&addr.to_string()));
        section.boolean("allow_anonymous", &mut options.allow_anonymous);
        section.read("origins", &mut options.origins, listeners::texts, |origins| {
            listeners::show_texts(origins)
        });
        section.number("connections", &mut options.connections, 16..=65_536);
        section.bytes("head_bytes", &mut options.head_bytes, 1024..=1 << 20);
        section.duration("head_timeout", &mut options.head_timeout, SECOND..=HOUR);
        section.duration("body_timeout", &mut options.body_timeout, SECOND..=HOUR);
        section.end();
        options
    }

    fn storage(&mut self) -> StorageOptions {
        let mut options = StorageOptions::default();
        let mut section = self.section("storage");
        section.bytes("block_cache_bytes", &mut options.block_cache_bytes, 1 << 20..=1 << 50);
        section.bytes("write_buffer_bytes", &mut options.write_buffer_bytes, 1 << 20..=1 << 40);
        section.bytes("min_free_bytes", &mut options.min_free_bytes, 0..=1 << 50);
        section.end();
        options
    }

    fn log(&mut self) -> LogOptions {
        let mut options = LogOptions::default();
        let mut section = self.section("log");
        section.read("level", &mut options.level, directives, |level| quote(level));
        section.one_of("format", &mut options.format, &LOG_FORMATS);
        section.end();
        options
    }

    fn section(&mut self, name: &'static str) -> Section<'_> {
        let mut table = Table::default();
        if let Some(entry) = self.table.entries.remove(name) {
            match entry.effective {
                Located { value: Value::Table(found), .. } => table = found,
                Located { value, origin } => self.problems.push(Problem::at(
                    origin,
                    format!("{name} is a section: write [{name}] and its keys below, not {}", value.kind()),
                )),
            }
        }
        Section { name, item: None, table, reader: self }
    }

    /// What no section took is a section that does not exist.
    fn refuse_leftovers(&mut self) {
        for (name, entry) in std::mem::take(&mut self.table.entries) {
            // Every value laid into the section is named, since the section's own origin may be any of them.
            let origins = match entry.effective.value {
                Value::Table(table) if !table.entries.is_empty() => {
                    table.entries.into_values().map(|entry| entry.effective.origin).collect()
                }
                _ => vec![entry.effective.origin],
            };
            let hint = if let Some(setting) = self.settings.keys.iter().find(|setting| setting.key == name) {
                format!("; {} is a key of section [{}]", name, setting.section)
            } else {
                // Of bans nothing is noted where there are none.
                let sections = self.settings.keys.iter().map(|setting| setting.section);
                did_you_mean(&name, sections.chain(["ban"]))
            };
            for origin in origins {
                self.problems.push(Problem::at(origin, format!("unknown section {name}{hint}")));
            }
        }
    }

    /// `CONVOY_NODE_NAME` is not ours, but whoever wrote it meant `CONVOY_NODE__NAME`.
    fn refuse_unsplit(&mut self, variables: &[String]) {
        for variable in variables {
            let single = self.settings.keys.iter().filter(|setting| setting.item.is_none());
            let meant = single.map(|setting| {
                format!(
                    "{}{}__{}",
                    sources::PREFIX,
                    setting.section.to_uppercase(),
                    setting.key.to_uppercase()
                )
            });
            if let Some(meant) = meant.into_iter().find(|meant| meant.replacen("__", "_", 1) == *variable) {
                self.problems.push(Problem::at(
                    Origin::Environment(variable.as_str().into()),
                    format!("unknown variable; did you mean {meant}?"),
                ));
            }
        }
    }
}

/// One section while its keys are taken out of it.
struct Section<'r> {
    name: &'static str,
    item: Option<usize>,
    table: Table,
    reader: &'r mut Reader,
}

/// What was expected instead, in words that complete "expected …".
type Expected = String;

impl Section<'_> {
    /// Takes `key`: its value goes to `target`, which else keeps its default.
    fn read<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        parse: impl Fn(&Value) -> Result<T, Expected>,
        show: impl Fn(&T) -> String,
    ) {
        let origin = self.take(key, target, parse);
        self.note(key, Some(show(target)), origin);
    }

    /// The same for a key that needs no value.
    fn optional<T>(
        &mut self,
        key: &'static str,
        target: &mut Option<T>,
        parse: impl Fn(&Value) -> Result<T, Expected>,
        show: impl Fn(&T) -> String,
    ) {
        let origin = self.take(key, target, |value| parse(value).map(Some));
        self.note(key, target.as_ref().map(show), origin);
    }

    fn note(&mut self, key: &'static str, value: Option<String>, origin: Origin) {
        let (section, item) = (self.name, self.item);
        self.reader.settings.keys.push(Setting { section, item, key, value, origin });
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        parse: impl Fn(&Value) -> Result<T, Expected>,
    ) -> Origin {
        let mut origin = Origin::Default;
        if let Some(Entry { effective, hidden }) = self.table.entries.remove(key) {
            for located in hidden {
                if let Err(expected) = parse(&located.value) {
                    self.refuse(key, &located, &expected);
                }
            }
            match parse(&effective.value) {
                Ok(value) => *target = value,
                Err(expected) => self.refuse(key, &effective, &expected),
            }
            origin = effective.origin;
        }
        origin
    }

    fn refuse(&mut self, key: &str, located: &Located, expected: &str) {
        let message = format!("{}.{key} = {}: expected {expected}", self.name, shown(&located.value));
        self.reader.problems.push(Problem::at(located.origin.clone(), message));
    }

    /// What is left are keys this section does not have.
    fn end(self) {
        let known = || self.reader.settings.keys.iter();
        let mut problems = Problems::default();
        for (key, entry) in &self.table.entries {
            let own = known().filter(|setting| setting.section == self.name).map(|setting| setting.key);
            let lists = match self.name {
                "mqtt" => Some("listeners"),
                "access" => Some("rule"),
                _ => None,
            };
            let hint = did_you_mean(key, own.chain(lists));
            for located in entry.hidden.iter().chain([&entry.effective]) {
                let message = format!("unknown key {}.{key}{hint}", self.name);
                problems.push(Problem::at(located.origin.clone(), message));
            }
        }
        self.reader.problems.append(&mut problems);
    }

    fn name(&mut self, key: &'static str, target: &mut String) {
        let parse = |value: &Value| match text(value) {
            Some(name) if is_name(name) => Ok(name.to_owned()),
            _ => Err("a name of 1 to 64 letters, digits, '-', '_' and '.'".to_owned()),
        };
        self.read(key, target, parse, |name| quote(name));
    }

    fn boolean(&mut self, key: &'static str, target: &mut bool) {
        self.read(key, target, boolean, bool::to_string);
    }

    /// One of several words, each of which stands for a value.
    fn one_of<T: Copy + PartialEq>(&mut self, key: &'static str, target: &mut T, words: &[(&str, T)]) {
        let parse = |value: &Value| {
            let named = words.iter().find(|(word, _)| text(value).map(str::trim) == Some(word));
            named.map(|(_, named)| *named).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("one of {}", words.join(", "))
            })
        };
        self.read(key, target, parse, |value| {
            let named = words.iter().find(|(_, named)| named == value);
            quote(named.expect("every value has its word").0)
        });
    }

    fn number<T>(&mut self, key: &'static str, target: &mut T, range: RangeInclusive<T>)
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let expected = || format!("an integer from {} to {}", range.start(), range.end());
        let parse = |value: &Value| {
            let number = match value {
                Value::Integer(number) => Some(*number),
                Value::Bare(text) => text.trim().replace('_', "").parse().ok(),
                _ => None,
            };
            number
                .and_then(|number| T::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(expected)
        };
        self.read(key, target, parse, T::to_string);
    }

    fn bytes<T>(&mut self, key: &'static str, target: &mut T, range: RangeInclusive<T>)
    where
        T: TryFrom<u64> + TryInto<u64> + Copy + PartialOrd,
    {
        let parse = |value: &Value| {
            let number = match value {
                Value::Integer(number) => u64::try_from(*number).ok(),
                _ => text(value).and_then(parse_bytes),
            };
            number
                .and_then(|number| T::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    format!(
                        "bytes, as an integer or as \"64 MiB\", from {} to {}",
                        show_bytes(*range.start()),
                        show_bytes(*range.end())
                    )
                })
        };
        self.read(key, target, parse, |bytes| match show_bytes(*bytes) {
            text if text.contains(' ') => quote(&text),
            text => text,
        });
    }

    fn duration(&mut self, key: &'static str, target: &mut Duration, range: RangeInclusive<Duration>) {
        let parse = |value: &Value| {
            text(value).and_then(parse_duration).filter(|duration| range.contains(duration)).ok_or_else(
                || {
                    format!(
                        "a duration with its unit, such as \"90s\", \"15m\", \"2h\" or \"3d\", from {} to {}",
                        show_duration(*range.start()),
                        show_duration(*range.end())
                    )
                },
            )
        };
        self.read(key, target, parse, |duration| quote(&show_duration(*duration)));
    }
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Bare(text) => Some(text),
        _ => None,
    }
}

fn boolean(value: &Value) -> Result<bool, Expected> {
    match value {
        Value::Boolean(value) => Ok(*value),
        Value::Bare(text) if text == "true" => Ok(true),
        Value::Bare(text) if text == "false" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

fn path(value: &Value) -> Result<PathBuf, Expected> {
    match text(value) {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("a path".to_owned()),
    }
}

fn addr(value: &Value) -> Result<SocketAddr, Expected> {
    text(value)
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| "an IP address with a port, such as 127.0.0.1:1883 or [::1]:1883".to_owned())
}

/// Where a node is reached.
fn endpoint(value: &Value) -> Result<String, Expected> {
    let is_endpoint = |text: &&str| {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        text.len() <= 255 && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let found = text(value).map(str::trim).filter(is_endpoint);
    found.map(str::to_owned).ok_or_else(|| "a host or an address with a port, such as node-1:7883".to_owned())
}

/// A list, or one text with commas between, as a flag or a variable says it.
fn endpoints(value: &Value) -> Result<Vec<String>, Expected> {
    let several = || "hosts or addresses with ports, such as [\"node-1:7883\", \"node-2:7883\"]".to_owned();
    let texts = listeners::texts(value).map_err(|_| several())?;
    let one = |text: String| endpoint(&Value::Text(text)).map_err(|_| several());
    texts.into_iter().filter(|text| !text.is_empty()).map(one).collect()
}

fn token(value: &Value) -> Result<String, Expected> {
    let told = || "a token as convoy ctl token prints it".to_owned();
    text(value).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).ok_or_else(told)
}

fn directives(value: &Value) -> Result<String, Expected> {
    match text(value) {
        Some(text) if crate::observe::logs::is_directives(text) => Ok(text.to_owned()),
        _ => Err("error, warn, info, debug, trace or directives such as \"info,convoy=debug\"".to_owned()),
    }
}

fn server_reference(value: &Value) -> Result<Option<String>, Expected> {
    match text(value).map(str::trim) {
        Some("") => Ok(None),
        Some(server) if server.len() <= 1024 && !server.contains(char::is_control) => {
            Ok(Some(server.to_owned()))
        }
        _ => Err("host or host:port, several of them with spaces between, 1024 bytes at most".to_owned()),
    }
}

/// A value as it was written, shortened: what is wrong must be seen, not repeated in full.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quote(&shortened(text)),
        Value::Bare(text) => shortened(text),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let entries: Vec<_> = table
                .entries
                .iter()
                .map(|(key, entry)| format!("{key} = {}", shown(&entry.effective.value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Other(name) => (*name).to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            char if char.is_control() => {
                write!(quoted, "\\u{:04X}", char as u32).expect("writing to a string cannot fail");
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// The nearest known word, if one is near enough to be meant.
fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let nearest = known
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((likeness, candidate)) if likeness >= 0.6 => format!("; did you mean {candidate}?"),
        _ => String::new(),
    }
}

const BYTE_UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '_').unwrap_or(text.len());
    let number: u64 = text[..digits].replace('_', "").parse().ok()?;
    let shift = match text[digits..].trim_start() {
        "" | "B" => 0,
        unit => BYTE_UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(1 << shift)
}

fn show_bytes(bytes: impl TryInto<u64>) -> String {
    // A count of bytes that has a wider type than this does not exist yet.
    let bytes = bytes.try_into().unwrap_or(u64::MAX);
    for (unit, shift) in BYTE_UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

const DURATION_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// Any sequence of numbers with units: `90s`, `1h30m`. Zero needs its unit too.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    if rest.is_empty() {
        return None;
    }
    if rest == "never" {
        return Some(NEVER);
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = DURATION_UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        rest = &rest[letters..];
        seconds = seconds.checked_add(number.checked_mul(*unit)?)?;
    }
    Some(Duration::from_secs(seconds))
}

fn show_duration(duration: Duration) -> String {
    if duration == NEVER {
        return "never".to_owned();
    }
    let seconds = duration.as_secs();
    let (unit, size) = DURATION_UNITS
        .iter()
        .find(|(_, size)| seconds != 0 && seconds.is_multiple_of(*size))
        .unwrap_or(&DURATION_UNITS[3]);
    format!("{}{unit}", seconds / size)
}

#[cfg(test)]
mod tests;
