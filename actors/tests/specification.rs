//! The pages of `node/docs/specification` against the tree: no statement of the standards is left out or stands twice,
//! every test that is named exists and is one, and every number that the code cites is one of the standards'.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Sections of MQTT 5.0 with the last number of their statements. 2.2.1 begins with the second.
#[rustfmt::skip]
const V5: &[(&str, u32)] = &[
    ("1.5.4", 3), ("1.5.5", 1), ("1.5.7", 1), ("2.1.3", 1), ("2.2.1", 6), ("2.2.2", 1), ("3.1.0", 2),
    ("3.1.2", 30), ("3.1.3", 12), ("3.1.4", 6), ("3.2.0", 2), ("3.2.2", 22), ("3.3.1", 13), ("3.3.2", 20),
    ("3.3.4", 10), ("3.4.2", 3), ("3.5.2", 3), ("3.6.1", 1), ("3.6.2", 3), ("3.7.2", 3), ("3.8.1", 1),
    ("3.8.3", 5), ("3.8.4", 8), ("3.9.2", 2), ("3.9.3", 2), ("3.10.1", 1), ("3.10.3", 2), ("3.10.4", 6),
    ("3.11.2", 2), ("3.11.3", 2), ("3.12.4", 1), ("3.14.0", 1), ("3.14.1", 1), ("3.14.2", 4), ("3.14.4", 3),
    ("3.15.1", 1), ("3.15.2", 3), ("4.1.0", 2), ("4.2.0", 1), ("4.3.1", 1), ("4.3.2", 5), ("4.3.3", 13),
    ("4.4.0", 2), ("4.5.0", 2), ("4.6.0", 6), ("4.7.0", 1), ("4.7.1", 2), ("4.7.2", 1), ("4.7.3", 4),
    ("4.8.2", 6), ("4.9.0", 3), ("4.12.0", 7), ("4.12.1", 2), ("4.13.1", 1), ("4.13.2", 1), ("6.0.0", 4),
];

/// The same of MQTT 3.1.1. Its [MQTT-3-8.3-4] is meant to be 3.8.3-4.
#[rustfmt::skip]
const V311: &[(&str, u32)] = &[
    ("1.5.3", 3), ("2.2.2", 2), ("2.3.1", 7), ("3.1.0", 2), ("3.1.2", 24), ("3.1.3", 11), ("3.1.4", 5),
    ("3.2.0", 1), ("3.2.2", 6), ("3.3.1", 12), ("3.3.2", 3), ("3.3.4", 1), ("3.3.5", 2), ("3.6.1", 1),
    ("3.8.1", 1), ("3.8.3", 4), ("3.8.4", 6), ("3.9.3", 2), ("3.10.1", 1), ("3.10.3", 2), ("3.10.4", 6),
    ("3.12.4", 1), ("3.14.1", 1), ("3.14.4", 3), ("4.1.0", 2), ("4.3.1", 1), ("4.3.2", 2), ("4.3.3", 2),
    ("4.4.0", 1), ("4.5.0", 2), ("4.6.0", 6), ("4.7.1", 3), ("4.7.2", 1), ("4.7.3", 4), ("4.8.0", 2),
    ("6.0.0", 4), ("7.0.0", 2), ("7.1.1", 1), ("7.1.2", 1),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    read(&format!("node/docs/specification/{name}"))
}

/// The numbers of a standard, such as 3.1.2-24.
fn statements(sections: &[(&str, u32)]) -> BTreeSet<String> {
    let numbers = sections.iter().flat_map(|(section, last)| {
        let first = if *section == "2.2.1" { 2 } else { 1 };
        (first..=*last).map(move |number| format!("{section}-{number}"))
    });
    numbers.collect()
}

/// All that stands between `[MQTT-` and the bracket that ends it, where it is the number of a statement.
fn cited(text: &str) -> Vec<String> {
    let numbers = text.split("[MQTT-").skip(1).filter_map(|rest| rest.split(']').next());
    let is_number = |number: &&str| {
        let allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        number.bytes().all(allowed) && number.contains('-')
    };
    numbers.filter(is_number).map(str::to_owned).collect()
}

/// Names of files in `README.md`.
fn files() -> BTreeMap<String, String> {
    let page = page("README.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let files: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.split('`').skip(1).step_by(2);
            let mut cell = || cells.next().expect("a row has a name and a file").to_owned();
            (cell(), cell())
        })
        .collect();
    assert!(files.len() > 10, "the table of files could not be read");
    files
}

/// The tests that a row names.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let proof = row.rsplit(" | ").next().expect("a row has cells");
    let quoted = proof.split('`').skip(1).step_by(2);
    quoted.map(|name| name.split_once("::").unwrap_or_else(|| panic!("{name} names no file"))).collect()
}

/// The functions of a file that are tests.
fn tests_in(source: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            continue;
        }
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        if let Some(function) = function.filter(|_| is_test) {
            found.extend(function.split(['(', '<']).next());
        }
        is_test &= line.is_empty() || line.starts_with("//");
    }
    found
}

/// What is wrong with a page: nothing, it is hoped.
fn findings(page: &str, sections: &[(&str, u32)]) -> Vec<String> {
    let expected = statements(sections);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for number in cited(page) {
        if !expected.contains(&number) {
            findings.push(format!("{number} is not a statement"));
        } else if !seen.insert(number.clone()) {
            findings.push(format!("{number} stands twice"));
        }
    }
    findings.extend(expected.difference(&seen).map(|number| format!("{number} is left out")));
    findings.extend(unproven(page));
    findings
}

/// Rows without a test, and tests that are not there.
fn unproven(page: &str) -> Vec<String> {
    let files = files();
    let mut findings = Vec::new();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    for row in rows.filter(|row| !row.ends_with("| Proven by |")) {
        let named = tests(row);
        if named.is_empty() {
            findings.push(format!("no test: {row}"));
        }
        for (file, test) in named {
            match files.get(file) {
                None => findings.push(format!("{file} is not in the table of files")),
                Some(path) if !tests_in(&read(path)).contains(test) => {
                    findings.push(format!("there is no test {test} in {path}"));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

#[test]
fn every_statement_of_5_0_is_listed_and_its_tests_exist() {
    assert_eq!(statements(V5).len(), 251);
    assert_eq!(findings(&page("mqtt-5.0.md"), V5), Vec::<String>::new());
}

#[test]
fn every_statement_of_3_1_1_is_listed_and_its_tests_exist() {
    assert_eq!(statements(V311).len(), 141);
    assert_eq!(findings(&page("mqtt-3.1.1.md"), V311), Vec::<String>::new());
}

#[test]
fn what_3_1_has_of_its_own_is_proven() {
    assert_eq!(unproven(&page("mqtt-3.1.md")), Vec::<String>::new());
}

#[test]
fn every_number_that_the_code_cites_is_a_statement() {
    let mut known = statements(V5);
    known.extend(statements(V311));
    let mut strange = Vec::new();
    let mut folders = vec![root().join("actors"), root().join("node/src"), root().join("chaos")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests/specification.rs")
            {
                let text = std::fs::read_to_string(&path).expect("source is text");
                let unknown = cited(&text).into_iter().filter(|number| !known.contains(number));
                strange.extend(unknown.map(|number| format!("{}: {number}", path.display())));
            }
        }
    }
    // A slip of the standard itself.
    strange.retain(|found| !found.ends_with(": 3-8.3-4"));
    assert_eq!(strange, Vec::<String>::new());
}

#[test]
fn a_page_that_is_wrong_is_found_out() {
    let page = "| [MQTT-1.5.4-1] | a rule | `wire_text::nul_is_refused_wherever_it_stands` |\n\
                | [MQTT-1.5.4-1] | again | `wire_text::no_such_test`, `nowhere::at_all` |\n\
                | [MQTT-1.5.4-9] | a rule | by faith |\n";
    let expected = [
        "1.5.4-1 stands twice",
        "1.5.4-9 is not a statement",
        "1.5.4-2 is left out",
        "1.5.4-3 is left out",
        "there is no test no_such_test in actors/wire/src/text.rs",
        "nowhere is not in the table of files",
        "no test: | [MQTT-1.5.4-9] | a rule | by faith |",
    ];
    assert_eq!(findings(page, &V5[..1]), expected);
    // A helper is no test.
    assert!(!tests_in(&read("actors/wire/src/text.rs")).contains("from_bytes"));
}
