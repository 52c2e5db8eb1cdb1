//! Names and dates of a certificate, which `rustls` does not tell.

use convoy_actors::CertificateId;
use ring::digest;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

/// Whom a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub common_name: Option<String>,
    /// Subject alternative names, in their order.
    pub alternative: Vec<String>,
    /// Those of them that are names of hosts.
    pub hosts: Vec<String>,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

impl Validity {
    pub fn contains(&self, now: SystemTime) -> bool {
        self.from <= now && now <= self.until
    }
}

impl Names {
    /// A star stands for the first label (RFC 6125, 6.4.3).
    pub fn cover(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| match host.strip_prefix("*.") {
            Some(rest) => name.split_once('.').is_some_and(|(_, tail)| tail.eq_ignore_ascii_case(rest)),
            None => host.eq_ignore_ascii_case(name),
        })
    }
}

/// Fails with words for an operator.
pub fn read(der: &[u8]) -> Result<(Names, Validity), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let mut names = Names::default();
    let common_names = certificate.subject().iter_common_name();
    names.common_name = common_names.last().and_then(|name| name.as_str().ok()).map(str::to_owned);
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(host) => {
                names.hosts.push((*host).to_owned());
                names.alternative.push((*host).to_owned());
            }
            GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                names.alternative.push((*text).to_owned())
            }
            GeneralName::IPAddress(bytes) => names.alternative.extend(address(bytes)),
            _ => {}
        }
    }
    let validity = certificate.validity();
    let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    Ok((names, Validity { from, until }))
}

/// When the next list of revoked certificates is due, where a list says it.
pub fn next_update(der: &[u8]) -> Option<SystemTime> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    list.next_update().map(|moment| time(moment.timestamp()))
}

/// What a list of revoked certificates names a certificate by.
pub fn id(der: &[u8]) -> Option<CertificateId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(id_of(certificate.issuer().as_raw(), certificate.raw_serial()))
}

/// Those that a list names.
pub fn revoked(der: &[u8]) -> BTreeSet<CertificateId> {
    let Ok((_, list)) = CertificateRevocationList::from_der(der) else { return BTreeSet::new() };
    let issuer = list.issuer().as_raw();
    list.iter_revoked_certificates().map(|revoked| id_of(issuer, revoked.raw_serial())).collect()
}

/// Whether a certificate is of the first version of X.509, which has no names of hosts and no limits.
pub fn is_version_1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.version() == X509Version::V1)
}

fn id_of(issuer: &[u8], serial: &[u8]) -> CertificateId {
    // The same number is written with zeros in front and without.
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(issuer);
    context.update(&serial[zeros..]);
    let digest = context.finish();
    let (id, _) = digest.as_ref().split_first_chunk().expect("a digest is longer");
    *id
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

fn time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}
