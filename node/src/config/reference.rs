//! `node/docs/configuration.md` is made of what the code says of itself: what a key means is the comment of its field, and
//! what it takes and is by default is asked of the reader of the configuration. So the page cannot lack a key, nor go on
//! telling what is not true any more.
//!
//! What is written by hand there stands outside of the marks `<!-- keys of SECTION -->` and `<!-- end of keys -->`.

use super::load::load;
use super::{Flags, Problem};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const PAGE: &str = "docs/configuration.md";
const WRITE: &str = "CONVOY_WRITE_REFERENCE";

const SECTIONS: &str = include_str!("sections.rs");
const LISTENER: &str = include_str!("listener.rs");
const ACCESS: &str = include_str!("access.rs");
const FEATURES: &str = include_str!("../../../actors/src/options/features.rs");
const SHARED: &str = include_str!("../../../actors/src/topic/shared.rs");
const RULE: &str = include_str!("../../../actors/src/access/rule.rs");
const BAN: &str = include_str!("../../../actors/src/access/ban.rs");

/// Sections, and the structures whose fields are their keys.
const OF_SECTIONS: [(&str, &[(&str, &str)]); 15] = [
    ("node", &[("NodeOptions", SECTIONS)]),
    ("fleet", &[("FleetOptions", SECTIONS)]),
    ("peer", &[("PeerOptions", SECTIONS)]),
    ("mqtt", &[]),
    ("mqtt.listeners", &[("Listener", LISTENER), ("TlsOptions", LISTENER), ("WebOptions", LISTENER)]),
    ("tls", &[("TlsOptions", LISTENER)]),
    ("api", &[("ApiOptions", SECTIONS)]),
    ("auth", &[("AuthOptions", ACCESS)]),
    ("access", &[("AccessOptions", ACCESS)]),
    ("access.rule", &[("Rule", RULE)]),
    ("ban", &[("Ban", BAN)]),
    ("limits", &[("LimitsOptions", SECTIONS)]),
    ("shared_subscriptions", &[("Options", SHARED)]),
    ("features", &[("Features", FEATURES)]),
    ("storage", &[("StorageOptions", SECTIONS)]),
];
/// Of the log there is one more, so that the list above stays readable.
const LOG: (&str, &[(&str, &str)]) = ("log", &[("LogOptions", SECTIONS)]);

/// Fields that have another name than their key, or several keys.
const RENAMED: [(&str, &str, &[&str]); 7] = [
    ("mqtt.listeners", "expired_crl", &["client_crl_expired"]),
    ("tls", "expired_crl", &["client_crl_expired"]),
    ("mqtt.listeners", "paths", &["path"]),
    ("access.rule", "client_id", &["client"]),
    ("ban", "client_id", &["client"]),
    (
        "limits",
        "user",
        &[
            "sessions_per_user",
            "stored_bytes_per_user",
            "will_bytes_per_user",
            "retained_messages_per_user",
            "retained_bytes_per_user",
        ],
    ),
    (
        "limits",
        "address",
        &["connections_per_address", "half_open_per_address", "connects_per_second_per_address"],
    ),
];

/// Keys that no field has: they say what others are.
const WITHOUT_FIELD: [(&str, &str, &str); 2] = [
    ("mqtt", "allow_anonymous", "What holds for the listeners that do not say it themselves."),
    (
        "limits",
        "profile",
        "The numbers of a cloud product, for who comes from there; every key beside it overrides one of them. `convoy \
         config show` prints what it sets.",
    ),
];

/// With a table of each kind, so that the reader asks for every key.
const EVERYTHING: &str = "[[mqtt.listeners]]\naddr = \"127.0.0.1:1\"\n[[access.rule]]\neffect = \"allow\"\naction = \
                          \"connect\"\n[[ban]]\nclient = \"x\"\n";

/// What is known of one key.
#[derive(Debug, Default)]
struct Key {
    default: Option<String>,
    expected: String,
}

/// The keys of every section, asked of the reader.
fn keys() -> BTreeMap<&'static str, BTreeMap<&'static str, Key>> {
    let loaded = load_text(EVERYTHING).expect("it is right");
    let mut sections: BTreeMap<_, BTreeMap<_, Key>> = BTreeMap::new();
    for (section, key, default) in loaded.settings.keys() {
        let default = default.filter(|_| is_single(section)).map(str::to_owned);
        // The name of a host is not of every host.
        let default = if (section, key) == ("node", "name") { None } else { default };
        let expected = expected(section, key);
        sections.entry(section).or_default().insert(key, Key { default, expected });
    }
    sections
}

/// Whether there is one of the section: in a list of tables nothing is there unless it is said.
fn is_single(section: &str) -> bool {
    !["mqtt.listeners", "access.rule", "ban"].contains(&section)
}

/// What the reader says that it expects of a key, when it finds a moment there, which no key takes.
fn expected(section: &str, key: &str) -> String {
    let wrong = format!("{key} = 1979-05-27T07:32:00Z\n");
    let text = match is_single(section) {
        true => format!("[{section}]\n{wrong}"),
        false => format!("[[{section}]]\n{wrong}"),
    };
    let problems = load_text(&text).expect_err("no key takes it").problems;
    let said =
        problems.iter().map(Problem::to_string).find(|problem| problem.contains(&format!(".{key} = ")));
    let said = said.unwrap_or_else(|| panic!("{section}.{key} is not complained about: {problems:?}"));
    said.split_once(": expected ").map(|(_, expected)| expected.to_owned()).unwrap_or(said)
}

fn load_text(text: &str) -> Result<super::Loaded, super::Error> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("it is written");
    load(Some(file.path()), [], &Flags::default())
}

/// Fields of a structure in their order, with their comments.
fn fields(name: &str, source: &str) -> Vec<(String, String)> {
    let body = source.split_once(&format!("pub struct {name} {{\n")).expect("the structure is there").1;
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in body.split("\n}\n").next().unwrap_or_default().lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
            found.push((field.to_owned(), std::mem::take(&mut comment).trim().to_owned()));
        }
    }
    found
}

/// The items of a section: its keys in the order of the fields.
fn items(section: &str, structures: &[(&str, &str)], keys: &BTreeMap<&str, Key>) -> String {
    let mut text = String::new();
    let mut told = Vec::new();
    let mut tell = |names: &[&str], comment: &str| {
        let known: Vec<_> = names.iter().filter(|name| keys.contains_key(**name)).collect();
        let Some(first) = known.first() else { return };
        assert!(!comment.is_empty(), "nothing is said of {section}.{first}");
        let heads: Vec<_> = known.iter().map(|name| head(name, &keys[**name])).collect();
        let expected = &keys[**first].expected;
        writeln!(text, "- {}. {}. {comment}", heads.join(", "), capital(expected))
            .expect("a string takes it");
        told.extend(known.into_iter().map(|name| (*name).to_owned()));
    };
    for (_, key, comment) in WITHOUT_FIELD.iter().filter(|(of, ..)| *of == section) {
        tell(&[key], comment);
    }
    for (field, comment) in structures.iter().flat_map(|(name, source)| fields(name, source)) {
        match RENAMED.iter().find(|(of, name, _)| (*of, *name) == (section, &field)) {
            Some((.., names)) => tell(names, &comment),
            None => tell(&[&field], &comment),
        }
    }
    let missing: Vec<_> = keys.keys().filter(|key| !told.iter().any(|told| told == *key)).collect();
    assert!(missing.is_empty(), "[{section}] has keys without a field or comment: {missing:?}");
    text
}

fn head(name: &str, key: &Key) -> String {
    match key.default.as_deref() {
        Some(default) => format!("**`{name}`** = `{default}`"),
        None => format!("**`{name}`**"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The page with its keys told anew.
fn renewed(page: &str) -> String {
    let known = keys();
    let mut told = Vec::new();
    let mut parts = page.split("<!-- keys of ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (section, rest) = part.split_once(" -->").expect("a mark ends");
        let (_, rest) = rest.split_once("<!-- end of keys -->").expect("keys end");
        let mut all = OF_SECTIONS.iter().chain([&LOG]);
        let (section, structures) = all
            .find(|(name, _)| *name == section)
            .unwrap_or_else(|| panic!("no section is called {section}"));
        let items = items(section, structures, &known[section]);
        write!(text, "<!-- keys of {section} -->\n\n{items}\n<!-- end of keys -->{rest}")
            .expect("a string takes it");
        told.push(*section);
    }
    let missing: Vec<_> = known.keys().filter(|section| !told.contains(section)).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
    text
}

#[test]
fn the_reference_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let renewed = renewed(&page);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, renewed).expect("the page is written");
    } else {
        assert!(
            page == renewed,
            "{PAGE} is behind the code: {WRITE}=1 cargo test -p convoy the_reference_says writes it again"
        );
    }
}
