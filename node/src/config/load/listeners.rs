//! Listeners: a list of addresses, of tables, or of both, and flags. What a table does not say of TLS is taken from
//! section `[tls]`, so that one certificate serves several listeners, and the flags too.

use super::*;
use crate::config::listener::{ClientCertificate, ExpiredCrl, Network, TlsOptions, TlsVersion, WebOptions};
use convoy_actors::Transport;

const LISTENERS: &str = "mqtt.listeners";

/// Every key of a listener.
const KEYS: [&str; 19] = [
    "kind",
    "addr",
    "name",
    "allow_anonymous",
    "connections",
    "connects_per_second",
    "proxy_from",
    "certificate",
    "key",
    "client_ca",
    "client_crl",
    "client_crl_expired",
    "client_certificate",
    "user_name_from_certificate",
    "client_id_from_certificate",
    "min_version",
    "record_bytes",
    "path",
    "origins",
];

const KINDS: [Transport; 4] =
    [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket];

/// What is said of TLS in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsDraft {
    certificate: Option<Vec<PathBuf>>,
    key: Option<Vec<PathBuf>>,
    client_ca: Option<PathBuf>,
    client_crl: Option<Vec<PathBuf>>,
    expired_crl: Option<ExpiredCrl>,
    client_certificate: Option<ClientCertificate>,
    user_name_from_certificate: Option<bool>,
    client_id_from_certificate: Option<bool>,
    min_version: Option<TlsVersion>,
    record_bytes: Option<u16>,
}

impl TlsDraft {
    fn is_empty(&self) -> bool {
        self.certificate.is_none()
            && self.key.is_none()
            && self.client_ca.is_none()
            && self.client_crl.is_none()
            && self.client_certificate.is_none()
            && self.expired_crl.is_none()
            && self.user_name_from_certificate.is_none()
            && self.client_id_from_certificate.is_none()
            && self.min_version.is_none()
            && self.record_bytes.is_none()
    }

    fn or(self, other: &Self) -> TlsOptions {
        // A certificate and its key come from one place, and so do authorities and their lists.
        let own_certificate = self.certificate.is_some() || self.key.is_some();
        let (certificate, key) = match own_certificate {
            true => (self.certificate, self.key),
            false => (other.certificate.clone(), other.key.clone()),
        };
        let (client_ca, client_crl) = match self.client_ca.is_some() || self.client_crl.is_some() {
            true => (self.client_ca, self.client_crl),
            false => (other.client_ca.clone(), other.client_crl.clone()),
        };
        let client_certificate =
            self.client_certificate.or(other.client_certificate).unwrap_or(match client_ca {
                Some(_) => ClientCertificate::Required,
                None => ClientCertificate::Off,
            });
        TlsOptions {
            certificate: certificate.unwrap_or_default(),
            key: key.unwrap_or_default(),
            client_ca,
            client_crl: client_crl.unwrap_or_default(),
            expired_crl: self.expired_crl.or(other.expired_crl).unwrap_or_default(),
            client_certificate,
            client_id_from_certificate: self
                .client_id_from_certificate
                .or(other.client_id_from_certificate)
                .unwrap_or(false),
            user_name_from_certificate: self
                .user_name_from_certificate
                .or(other.user_name_from_certificate)
                .unwrap_or(false),
            min_version: self.min_version.or(other.min_version).unwrap_or_default(),
            record_bytes: self.record_bytes.or(other.record_bytes),
        }
    }
}

impl Section<'_> {
    fn tls(&mut self) -> TlsDraft {
        let mut draft = TlsDraft::default();
        self.optional("certificate", &mut draft.certificate, paths, |paths| show_paths(paths));
        self.optional("key", &mut draft.key, paths, |paths| show_paths(paths));
        self.optional("client_ca", &mut draft.client_ca, path, |path| quote(&path.display().to_string()));
        self.optional("client_crl", &mut draft.client_crl, paths, |paths| show_paths(paths));
        self.choice("client_crl_expired", &mut draft.expired_crl, &ExpiredCrl::ALL);
        self.choice("client_certificate", &mut draft.client_certificate, &ClientCertificate::ALL);
        self.optional(
            "user_name_from_certificate",
            &mut draft.user_name_from_certificate,
            boolean,
            bool::to_string,
        );
        self.optional(
            "client_id_from_certificate",
            &mut draft.client_id_from_certificate,
            boolean,
            bool::to_string,
        );
        self.choice("min_version", &mut draft.min_version, &TlsVersion::ALL);
        self.optional("record_bytes", &mut draft.record_bytes, record_bytes, u16::to_string);
        draft
    }

    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        target: &mut Option<T>,
        all: &'static [(&'static str, T)],
    ) {
        let parse = |value: &Value| {
            let found = text(value).and_then(|text| all.iter().find(|(name, _)| *name == text));
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|(name, _)| quote(name)).collect();
                format!("one of {}", names.join(", "))
            })
        };
        self.optional(key, target, parse, |choice| {
            let found = all.iter().find(|(_, one)| one == choice);
            quote(found.map_or("", |(name, _)| name))
        });
    }
}

impl Reader {
    pub(super) fn tls(&mut self) -> TlsDraft {
        let mut section = self.section("tls");
        let draft = section.tls();
        section.end();
        draft
    }

    pub(super) fn mqtt(&mut self, tls: &TlsDraft, flags: &Flags) -> Vec<Listener> {
        let mut allow_anonymous = None;
        let mut section = self.section("mqtt");
        section.optional("allow_anonymous", &mut allow_anonymous, boolean, bool::to_string);
        let entry = section.table.entries.remove("listeners");
        section.end();

        let mut items = Vec::new();
        if let Some(Entry { effective, hidden }) = entry {
            for located in hidden {
                // What counts is read further down; of what does not, only a wrong form is told.
                self.items(located);
            }
            items = self.items(effective);
        } else {
            let addr = Listener::default_addr().to_string();
            items.push(item(Transport::Tcp, Located { value: Value::Text(addr), origin: Origin::Default }));
        }
        let said = [&flags.mqtt, &flags.mqtts, &flags.ws, &flags.wss];
        for ((kind, said), flag) in KINDS.into_iter().zip(said).zip(["--mqtt", "--mqtts", "--ws", "--wss"]) {
            if said.is_empty() {
                continue;
            }
            // A flag stands for all listeners of its kind.
            items.retain(|(of, _)| *of != kind);
            for text in said.iter().flat_map(|text| text.split(',')) {
                let located =
                    Located { value: Value::Bare(text.trim().to_owned()), origin: Origin::Flag(flag) };
                if let Err(expected) = addr(&located.value) {
                    self.refuse_item(&located, &expected);
                } else {
                    items.push(item(kind, located));
                }
            }
        }
        let mut listeners = Vec::new();
        for (_, table) in items {
            let at = listeners.len();
            if let Some(listener) = self.listener(table, at, tls, allow_anonymous) {
                listeners.push(listener);
            }
        }
        listeners
    }

    /// The listeners of one value of `mqtt.listeners`, as tables with their kinds.
    fn items(&mut self, located: Located) -> Vec<(Transport, Table)> {
        let expected = "a list of addresses, or of { addr = \"127.0.0.1:1883\", allow_anonymous = true }";
        let items = match located.value.clone() {
            Value::List(items) if !items.is_empty() => items,
            Value::Bare(text) => text
                .split(',')
                .map(|part| Located {
                    value: Value::Bare(part.trim().to_owned()),
                    origin: located.origin.clone(),
                })
                .collect(),
            _ => {
                self.refuse_item(&located, expected);
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for located in items {
            match &located.value {
                Value::Table(table) => {
                    let kind = table.entries.get("kind").and_then(|entry| kind(&entry.effective.value).ok());
                    let mut table = table.clone();
                    // A complaint about what is not there names the table. Whoever misspelt it hears of that alone.
                    if table.entries.keys().all(|key| KEYS.contains(&key.as_str())) {
                        let nothing =
                            Located { value: Value::Other("nothing"), origin: located.origin.clone() };
                        let entry = Entry { effective: nothing, hidden: Vec::new() };
                        table.entries.entry("addr".to_owned()).or_insert(entry);
                    }
                    tables.push((kind.unwrap_or(Transport::Tcp), table));
                }
                value => match address(value) {
                    Ok((kind, addr)) => {
                        let value = Value::Text(addr.to_string());
                        tables.push(item(kind, Located { value, origin: located.origin }));
                    }
                    Err(expected) => self.refuse_item(&located, &expected),
                },
            }
        }
        tables
    }

    fn refuse_item(&mut self, located: &Located, expected: &str) {
        let message = format!("{LISTENERS} = {}: expected {expected}", shown(&located.value));
        self.problems.push(Problem::at(located.origin.clone(), message));
    }

    fn listener(
        &mut self,
        table: Table,
        at: usize,
        defaults: &TlsDraft,
        allow_anonymous: Option<bool>,
    ) -> Option<Listener> {
        let problems = self.problems.len();
        let origin =
            table.entries.get("addr").map_or(Origin::Default, |entry| entry.effective.origin.clone());
        let mut section = Section { name: LISTENERS, item: Some(at), table, reader: self };
        let mut kind_of = Transport::Tcp;
        section.read("kind", &mut kind_of, kind, |kind| quote(kind.as_str()));
        let mut listener = Listener {
            kind: kind_of,
            addr: Listener::default_addr(),
            name: None,
            allow_anonymous,
            connections: None,
            connects_per_second: None,
            proxy_from: Vec::new(),
            tls: None,
            web: None,
        };
        section.read("addr", &mut listener.addr, addr, |addr| quote(&addr.to_string()));
        section.optional("name", &mut listener.name, name, |name| quote(name));
        let mut own_allow = None;
        section.optional("allow_anonymous", &mut own_allow, boolean, bool::to_string);
        listener.allow_anonymous = own_allow.or(allow_anonymous);
        section.optional("connections", &mut listener.connections, limit, u32::to_string);
        section.optional("connects_per_second", &mut listener.connects_per_second, limit, u32::to_string);
        let mut proxies = None;
        section.optional("proxy_from", &mut proxies, networks, |networks| show_networks(networks));
        listener.proxy_from = proxies.unwrap_or_default();

        let draft = section.tls();
        let (mut path, mut origins) = (None, None);
        section.optional("path", &mut path, url_paths, |paths| show_texts(paths));
        section.optional("origins", &mut origins, texts, |texts| show_texts(texts));
        let is_web = kind_of.is_web_socket();
        if !kind_of.is_encrypted() && !draft.is_empty() {
            section.refuse_for_kind(&origin, "of TLS", "mqtts or wss");
        }
        if !is_web && (path.is_some() || origins.is_some()) {
            section.refuse_for_kind(&origin, "of WebSocket", "ws or wss");
        }
        listener.tls = kind_of.is_encrypted().then(|| draft.or(defaults));
        listener.web = is_web.then(|| WebOptions {
            paths: path.unwrap_or(WebOptions::default().paths),
            origins: origins.unwrap_or_default(),
            ..WebOptions::default()
        });
        section.end();
        if self.problems.len() > problems {
            self.settings.keys.retain(|setting| (setting.section, setting.item) != (LISTENERS, Some(at)));
            return None;
        }
        Some(listener)
    }
}

impl Section<'_> {
    fn refuse_for_kind(&mut self, origin: &Origin, keys: &str, kinds: &str) {
        let message = format!("this listener has keys {keys} and is not of kind {kinds}");
        self.reader.problems.push(Problem::at(origin.clone(), message));
    }
}

fn item(kind: Transport, addr: Located) -> (Transport, Table) {
    let mut table = Table::default();
    let kind_said = Located { value: Value::Text(kind.as_str().to_owned()), origin: addr.origin.clone() };
    table.entries.insert("kind".to_owned(), Entry { effective: kind_said, hidden: Vec::new() });
    table.entries.insert("addr".to_owned(), Entry { effective: addr, hidden: Vec::new() });
    (kind, table)
}

fn kind(value: &Value) -> Result<Transport, Expected> {
    let found = text(value).and_then(|text| KINDS.into_iter().find(|kind| kind.as_str() == text));
    found.ok_or_else(|| "\"mqtt\", \"mqtts\", \"ws\" or \"wss\"".to_owned())
}

/// `127.0.0.1:1883`, or with its kind: `ws://127.0.0.1:8083`.
fn address(value: &Value) -> Result<(Transport, SocketAddr), Expected> {
    let Some((kind_text, rest)) = text(value).and_then(|text| text.split_once("://")) else {
        return Ok((Transport::Tcp, addr(value)?));
    };
    Ok((kind(&Value::Bare(kind_text.to_owned()))?, addr(&Value::Bare(rest.to_owned()))?))
}

fn name(value: &Value) -> Result<String, Expected> {
    match text(value) {
        Some(name) if is_name(name) => Ok(name.to_owned()),
        _ => Err("a name of 1 to 64 letters, digits, '-', '_' and '.'".to_owned()),
    }
}

fn limit(value: &Value) -> Result<u32, Expected> {
    match value {
        Value::Integer(number) => u32::try_from(*number).ok().filter(|number| *number > 0),
        _ => None,
    }
    .ok_or_else(|| format!("an integer from 1 to {}", u32::MAX))
}

/// One text, or a list of them; text of a variable is cut at commas.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, Expected> {
    let expected = || "a string or a list of strings".to_owned();
    match value {
        Value::Text(one) => Ok(vec![one.clone()]),
        Value::Bare(text) => Ok(text.split(',').map(|part| part.trim().to_owned()).collect()),
        Value::List(items) => {
            let texts = items.iter().map(|item| text(&item.value).map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}

pub(super) fn show_texts(texts: &[String]) -> String {
    list(texts.iter().map(|text| quote(text)))
}

fn paths(value: &Value) -> Result<Vec<PathBuf>, Expected> {
    match texts(value) {
        Ok(texts) if texts.iter().all(|text| !text.is_empty()) => {
            Ok(texts.into_iter().map(PathBuf::from).collect())
        }
        _ => Err("a path or a list of paths".to_owned()),
    }
}

pub(super) fn show_networks(networks: &[Network]) -> String {
    list(networks.iter().map(|network| quote(&network.to_string())))
}

pub(super) fn networks(value: &Value) -> Result<Vec<Network>, Expected> {
    let parsed = texts(value)
        .ok()
        .and_then(|texts| texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>());
    parsed.ok_or_else(|| "a list of networks such as \"10.0.0.0/8\" or \"fd00::/8\"".to_owned())
}

fn record_bytes(value: &Value) -> Result<u16, Expected> {
    match value {
        Value::Integer(number) => {
            u16::try_from(*number).ok().filter(|number| (512..=16_384).contains(number))
        }
        _ => None,
    }
    .ok_or_else(|| "an integer from 512 to 16384".to_owned())
}

fn url_paths(value: &Value) -> Result<Vec<String>, Expected> {
    let is_path =
        |path: &String| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'?');
    match texts(value) {
        Ok(paths) if !paths.is_empty() && paths.iter().all(is_path) => Ok(paths),
        _ => Err("a path such as \"/mqtt\", or a list of them".to_owned()),
    }
}

fn show_paths(paths: &[PathBuf]) -> String {
    match paths {
        [one] => quote(&one.display().to_string()),
        several => list(several.iter().map(|path| quote(&path.display().to_string()))),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
