//! Who may ask. A key is drawn at the first start and kept in the data folder, where the node's own user alone can read
//! it: whoever can is the operator. Health stays open; so do figures on loopback.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use anyhow::Context;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

use super::line::Asker;
use super::portions::Portions;
use super::serve::Connection;
use super::{Problem, Shared};

/// The file in the data folder.
pub const FILE: &str = "api.key";

/// Bytes of chance in a key; it is written in hexadecimal digits.
const KEY_BYTES: usize = 32;

/// A file that is longer is none of ours.
const FILE_BYTES_LIMIT: u64 = 1024;

/// What is asked without a key wherever the API listens: whether the node lives, and whether it is ready.
const OPEN: &[&str] = &["/livez", "/readyz"];

/// What is asked without a key if the API listens on loopback, or if the configuration says so.
const FIGURES: &[&str] = &["/metrics", "/status"];

/// The key of the API.
#[derive(Clone)]
pub struct ApiKey {
    key: String,
    /// Figures need no key.
    pub figures_are_open: bool,
    /// Whatever the request calls this node.
    for_any_host: bool,
}

impl ApiKey {
    pub fn new(key: impl Into<String>, figures_are_open: bool) -> Self {
        Self { key: key.into(), figures_are_open, for_any_host: false }
    }

    /// Whether open figures are open by any name, as an operator may decide.
    pub fn for_any_host(self, for_any_host: bool) -> Self {
        Self { for_any_host, ..self }
    }

    /// Reads the key of a data folder, which gets one if it has none.
    pub fn take_up(data: &Path, figures_are_open: bool) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        if let Some(key) = read(&path)? {
            return Ok(Self::new(key, figures_are_open));
        }
        let key = draw()?;
        // Written aside and renamed: a crash leaves a whole key or none.
        let aside = data.join("api.key.new");
        let write = || {
            let _ = fs::remove_file(&aside);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            writeln!(file, "{key}")?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            fs::File::open(data)?.sync_all()
        };
        write().with_context(|| format!("the key of the api cannot be written to {}", path.display()))?;
        tracing::info!(path = %path.display(), "a key for the api was drawn");
        Ok(Self::new(key, figures_are_open))
    }

    /// Figures without the key: under the node's own names, or under any if an operator has decided so.
    fn opens_figures_to(&self, request: &ServiceRequest) -> bool {
        let is_ours = || {
            let host = request.headers().get(header::HOST);
            self.for_any_host || host.is_none_or(|host| host.to_str().is_ok_and(is_local))
        };
        self.figures_are_open && FIGURES.contains(&request.path()) && is_ours()
    }

    fn is_shown_by(&self, request: &ServiceRequest) -> bool {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, key)) = given.and_then(|given| given.split_once(' ')) else { return false };
        // Comparing takes as long whatever is wrong.
        scheme.eq_ignore_ascii_case("bearer") && bool::from(key.trim().as_bytes().ct_eq(self.key.as_bytes()))
    }
}

/// Whether a Host is this machine by an address or its own word for itself. A page from elsewhere that has its own name
/// lead here asks by that name, and could read the answer.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| match port.parse::<u16>() {
        Ok(_) => name,
        Err(_) => host,
    });
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<std::net::IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// The key in a file; `None` if there is no file.
pub fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => file.take(FILE_BYTES_LIMIT).read_to_string(&mut text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .with_context(|| format!("the key of the api cannot be read from {}", path.display()))?;
    let key = text.trim();
    anyhow::ensure!(
        key.len() >= 16 && key.bytes().all(|byte| byte.is_ascii_graphic()),
        "{} holds no key: at least 16 characters are expected; delete it for a new one at the next start",
        path.display()
    );
    Ok(Some(key.to_owned()))
}

/// Where the key of a data folder is.
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

fn draw() -> anyhow::Result<String> {
    let mut chance = [0; KEY_BYTES];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut chance))?;
    Ok(chance.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets a request through that has the key, or needs none. What is refused is refused before its body is read.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.conn_data::<Connection>().cloned();
    let verdict = judge(&request, connection.as_ref());
    let Some(Connection { asker, places }) = connection else {
        verdict?;
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let body = body_of(request.headers());
    let verdict = verdict.and_then(|has_key| match !has_key || places.has_room_for_body(body.most_bytes()) {
        true => Ok(has_key),
        false => {
            let detail =
                "as many long bodies are on their way as are read at a time; ask again when some have come";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    });
    match &verdict {
        Ok(has_key) => announce(&asker, *has_key, body),
        Err(_) => asker.is_refused(),
    }
    verdict?;
    let answer = next.call(request).await;
    asker.answered();
    match answer {
        Ok(answer) => Ok(Portions::of(answer, asker)),
        Err(error) => {
            asker.told();
            Err(error)
        }
    }
}

/// What follows a head, as it says itself.
#[derive(Clone, Copy)]
enum Body {
    Nothing,
    Bytes(usize),
    /// Until it says that it ends.
    Chunks,
}

impl Body {
    fn most_bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => *bytes,
            Self::Chunks => usize::MAX,
        }
    }
}

fn body_of(headers: &header::HeaderMap) -> Body {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Body::Chunks;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|length| length.trim().parse().ok()) {
        None | Some(0) => Body::Nothing,
        Some(bytes) => Body::Bytes(bytes),
    }
}

/// Lets in the body of a request with the key. Where it cannot be told what comes behind it, nothing is.
fn announce(asker: &Asker, has_key: bool, body: Body) {
    match (has_key, body) {
        (_, Body::Nothing) => asker.asks(has_key, 0),
        (true, Body::Bytes(bytes)) => asker.asks(true, bytes),
        (true, Body::Chunks) => {
            asker.asks_no_more();
            asker.asks(true, body.most_bytes());
        }
        (false, _) => {
            asker.asks_no_more();
            asker.asks(false, 0);
        }
    }
}

/// Whether a request is let through, and then whether with the key.
fn judge(request: &ServiceRequest, connection: Option<&Connection>) -> Result<bool, Problem> {
    let shared = request.app_data::<web::Data<Shared>>().expect("every App has it");
    let key = &shared.state.key;
    if OPEN.contains(&request.path()) {
        return Ok(false);
    }
    if !comes_from_here(request, &shared.options.origins) {
        let detail = "a page of this Origin may not ask; api.origins names those that may";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if key.is_shown_by(request) {
        let has_room =
            |connection: &Connection| connection.asker.has_key() || connection.places.has_room_for_key();
        return match connection.is_none_or(has_room) {
            true => Ok(true),
            false => {
                let detail = "as many connections with the key are open as api.connections allows";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        };
    }
    if key.opens_figures_to(request) {
        return Ok(false);
    }
    let detail = format!(
        "Authorization: Bearer with the key in {FILE} of the node's data folder is expected for {}",
        request.path()
    );
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
}

/// Whether a request is no page's, or that of a page that was served here or is named.
fn comes_from_here(request: &ServiceRequest, origins: &[String]) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let is_same = |host: &str| authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host));
    host.is_some_and(is_same) || origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_name_that_anybody_can_point_here_opens_nothing() {
        use actix_web::test::TestRequest;
        let key = ApiKey::new("0123456789abcdef", true);
        let asks = |path: &str, host: &str| {
            TestRequest::get().uri(path).insert_header((header::HOST, host)).to_srv_request()
        };
        for host in ["127.0.0.1:18083", "[::1]:18083", "[::1]", "localhost", "LocalHost:1", "10.0.0.1"] {
            assert!(key.opens_figures_to(&asks("/metrics", host)), "{host}");
        }
        for host in ["evil.example:18083", "localhost.evil.example", "127.0.0.1.evil.example", "", ":1"] {
            let request = asks("/status", host);
            assert!(
                !key.opens_figures_to(&asks("/metrics", host)) && !key.opens_figures_to(&request),
                "{host}"
            );
            assert!(key.clone().for_any_host(true).opens_figures_to(&request), "{host}");
        }
        assert!(!key.opens_figures_to(&asks("/api/v1/status", "localhost")));
    }

    #[test]
    fn a_page_from_elsewhere_may_not_ask() {
        use actix_web::test::TestRequest;
        let asks = |origin: &str| {
            let request =
                TestRequest::get().uri("/api/v1/clients").insert_header((header::HOST, "here:18083"));
            request.insert_header((header::ORIGIN, origin)).to_srv_request()
        };
        let named = ["https://console.example".to_owned()];
        for ours in ["http://here:18083", "https://Console.example"] {
            assert!(comes_from_here(&asks(ours), &named), "{ours}");
        }
        for foreign in ["http://here", "https://evil.example", "null", "", "http://here:18083.evil.example"] {
            assert!(!comes_from_here(&asks(foreign), &named), "{foreign}");
        }
        assert!(comes_from_here(&TestRequest::get().to_srv_request(), &[]));
    }

    #[test]
    fn a_key_is_drawn_once_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = ApiKey::take_up(folder.path(), true).unwrap();
        let again = ApiKey::take_up(folder.path(), true).unwrap();
        assert_eq!((first.key.len(), &first.key), (2 * KEY_BYTES, &again.key));
        let mode = fs::metadata(path(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(ApiKey::take_up(other.path(), true).unwrap().key, first.key);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "short", "sixteen characters with spaces"] {
            fs::write(path(folder.path()), text).unwrap();
            let error = ApiKey::take_up(folder.path(), true).err().expect("it is refused");
            assert!(error.to_string().contains("api.key holds no key"), "{error}");
        }
    }
}
