//! Listings: one page after the other is asked for until there is no more, or enough.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};

use super::http::{Api, encode};
use super::table::Table;
use crate::admin::Page;

/// Items of a page: what an answer is printed in.
const PAGE: usize = 500;

/// What is asked for: a path, and what narrows it down.
#[derive(Debug)]
pub struct Listing {
    path: String,
    query: Vec<(&'static str, String)>,
    /// Items after which it ends; 0 for all.
    limit: usize,
}

/// How items are shown to people.
pub trait Row: Serialize + DeserializeOwned {
    const HEADING: &'static [&'static str];
    fn row(&self) -> Vec<String>;
}

impl Listing {
    pub fn new(path: impl Into<String>, limit: usize) -> Self {
        Self { path: path.into(), query: Vec::new(), limit }
    }

    /// Narrows it down, if there is a value.
    pub fn with(mut self, key: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (key, value.to_string())));
        self
    }

    fn page(&self, cursor: Option<&str>, limit: usize) -> String {
        let mut path = format!("{}?limit={limit}", self.path);
        for (key, value) in &self.query {
            path.push_str(&format!("&{key}={}", encode(value)));
        }
        if let Some(cursor) = cursor {
            path.push_str(&format!("&cursor={}", encode(cursor)));
        }
        path
    }

    /// Prints everything, as a table for each page or as one array of JSON.
    pub fn print<T: Row>(&self, api: &Api, json: bool) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let (mut cursor, mut printed) = (None, 0);
        if json {
            write!(out, "[")?;
        }
        loop {
            let room = if self.limit == 0 { PAGE } else { PAGE.min(self.limit - printed) };
            let body = api.get(&self.page(cursor.as_deref(), room))?;
            let page: Page<T> = serde_json::from_slice(&body)?;
            if json {
                for item in &page.items {
                    write!(out, "{}\n  ", if printed == 0 { "" } else { "," })?;
                    serde_json::to_writer(&mut out, item)?;
                    printed += 1;
                }
            } else if !page.items.is_empty() || (printed == 0 && page.next.is_none()) {
                let mut table = Table::new(T::HEADING);
                page.items.iter().for_each(|item| table.push(item.row()));
                let text = table.to_string();
                // The heading stands above the first page alone.
                let from = if printed == 0 { 0 } else { text.find('\n').map_or(0, |at| at + 1) };
                write!(out, "{}", &text[from..])?;
                printed += page.items.len();
            }
            out.flush()?;
            cursor = page.next;
            if cursor.is_none() || (self.limit > 0 && printed >= self.limit) {
                break;
            }
        }
        if json {
            writeln!(out, "{}]", if printed == 0 { "" } else { "\n" })?;
        }
        out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_narrows_a_listing_down_stands_in_its_path() {
        let listing = Listing::new("/api/v1/clients", 0)
            .with("client_id", Some("car/7"))
            .with("user", None::<String>)
            .with("connected", Some(true));
        assert_eq!(
            listing.page(Some("x="), 5),
            "/api/v1/clients?limit=5&client_id=car%2F7&connected=true&cursor=x%3D"
        );
    }
}
