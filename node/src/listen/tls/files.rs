//! Certificates, keys and lists of revoked certificates on disk. Every complaint names the file.

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Expiry, Key, What, names};
use crate::config::TlsOptions;
use crate::file;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    pub file: PathBuf,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

impl Problem {
    pub fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into() }
    }

    /// Of all files together.
    pub fn general(options: &TlsOptions, what: impl fmt::Display) -> Self {
        let file = options.certificate.first().cloned().unwrap_or_default();
        Self { file, what: what.to_string() }
    }
}

pub struct Files {
    pub keys: Vec<Key>,
    pub expiries: Vec<Expiry>,
    pub authorities: Vec<CertificateDer<'static>>,
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Files {
    /// Of certificates that are out of date the rest is read, too, unless all have to be `in_date`.
    pub fn read(options: &TlsOptions, now: SystemTime, in_date: bool) -> Result<Self, Problem> {
        let mut files =
            Self { keys: Vec::new(), expiries: Vec::new(), authorities: Vec::new(), revoked: Vec::new() };
        for (certificate, key) in options.certificate.iter().zip(&options.key) {
            let (key, expiry) = read_pair(certificate, key, in_date.then_some(now))?;
            files.keys.push(key);
            files.expiries.push(expiry);
        }
        if let Some(path) = &options.client_ca {
            files.authorities = all(path, "certificate")?;
        }
        for path in &options.client_crl {
            let lists = all::<CertificateRevocationListDer<'static>>(
                path,
                "list of revoked certificates (X509 CRL)",
            )?;
            let ends = lists.iter().filter_map(|list| names::next_update(list)).min();
            files.expiries.extend(ends.map(|at| Expiry { what: What::Crl, file: path.clone(), at }));
            files.revoked.extend(lists);
        }
        Ok(files)
    }
}

const ENCRYPTED: &str = "its private key is encrypted: nobody is there to type the password";

fn read_pair(path: &Path, key_path: &Path, now: Option<SystemTime>) -> Result<(Key, Expiry), Problem> {
    let chain: Vec<CertificateDer<'static>> = all(path, "certificate")?;
    let problem = |what: String| Problem::new(path, what);
    let (names, validity) = names::read(&chain[0])
        .map_err(|error| problem(format!("its first certificate cannot be read: {error}")))?;
    if names::is_version_1(&chain[0]) {
        return Err(problem(
            "its certificate is of X.509 version 1; that of a server needs version 3".to_owned(),
        ));
    }
    match now {
        Some(now) if now > validity.until => {
            return Err(problem(format!("its certificate expired {}", span(now, validity.until, "ago"))));
        }
        Some(now) if now < validity.from => {
            return Err(problem(format!(
                "its certificate is not valid yet, but {}; is the clock right?",
                span(validity.from, now, "from now")
            )));
        }
        _ => {}
    }
    let text = read(key_path)?;
    // What PKCS #1 keys say of it; their bytes would be taken for a broken key.
    if contains(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(Problem::new(key_path, ENCRYPTED));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound if contains(&text, "ENCRYPTED PRIVATE KEY") => ENCRYPTED.to_owned(),
            pem::Error::NoItemsFound => "it holds no private key in PEM".to_owned(),
            error => format!("its private key cannot be read: {error}"),
        };
        Problem::new(key_path, what)
    })?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
        let what = match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("its private key does not fit the certificate in {}", path.display())
            }
            error => format!("its private key cannot be used: {error}"),
        };
        Problem::new(key_path, what)
    })?;
    let expiry = Expiry { what: What::Certificate, file: path.to_owned(), at: validity.until };
    Ok((Key { names, validity, certified: Arc::new(certified) }, expiry))
}

/// Every item of a kind in a file that has at least one.
fn all<T: PemObject>(path: &Path, what: &str) -> Result<Vec<T>, Problem> {
    let text = read(path)?;
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    match items {
        Ok(items) if items.is_empty() => Err(Problem::new(path, format!("it holds no {what} in PEM"))),
        Ok(items) => Ok(items),
        Err(error) => Err(Problem::new(path, format!("it is not PEM: {error}"))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    match file::read(path, file::BYTES_LIMIT) {
        Ok(bytes) if bytes.is_empty() => Err(Problem::new(path, "it is empty")),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(Problem::new(path, format!("it cannot be read: {error}"))),
    }
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

/// As people say it: `3 days ago`.
pub fn span(later: SystemTime, earlier: SystemTime, how: &str) -> String {
    let seconds = later.duration_since(earlier).unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3600.. => (seconds / 3600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{} {how}", if count == 1 { "" } else { "s" })
}

/// What tells a file from what it was: it may be replaced within a second, or by one of the same length.
pub type Stamps = Vec<Option<(SystemTime, u64, u64)>>;

pub fn stamps(options: &TlsOptions) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let TlsOptions { certificate, key, client_ca, client_crl, .. } = options;
    let files = certificate.iter().chain(key).chain(client_ca).chain(client_crl);
    files
        .map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
        .collect()
}
