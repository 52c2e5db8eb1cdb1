//! An authority of a test, a certificate for the node and one for Clients.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The common name in the Client's certificate.
pub const CLIENT: &str = "van-with-a-certificate";

/// Files as the node and foreign Clients take them, and what our own Client needs.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub authority: PathBuf,
    pub node: PathBuf,
    pub node_key: PathBuf,
    pub client: PathBuf,
    pub client_key: PathBuf,
    /// Trusts the authority and shows nothing.
    pub anonymous: Arc<ClientConfig>,
    /// Shows the Client's certificate.
    pub known: Arc<ClientConfig>,
}

impl Certificates {
    /// Makes them in `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let made = make().map_err(io::Error::other)?;
        let write = |name: &str, text: &str| -> io::Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        let config = |shown: bool| client_config(&made, shown).map(Arc::new).map_err(io::Error::other);
        Ok(Self {
            authority: write("authority.pem", &made.authority)?,
            node: write("node.pem", &made.node.0)?,
            node_key: write("node.key", &made.node.1)?,
            client: write("client.pem", &made.client.0)?,
            client_key: write("client.key", &made.client.1)?,
            anonymous: config(false)?,
            known: config(true)?,
        })
    }
}

struct Made {
    authority: String,
    /// Certificate and key.
    node: (String, String),
    client: (String, String),
}

fn make() -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "an authority of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let leaf = |name: &str, names: &[&str]| -> Result<(String, String), rcgen::Error> {
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &authority)?.pem(), key.serialize_pem()))
    };
    Ok(Made {
        node: leaf("localhost", &["localhost", "127.0.0.1"])?,
        client: leaf(CLIENT, &[])?,
        authority: authority.pem(),
    })
}

fn client_config(made: &Made, shown: bool) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.authority.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    if !shown {
        return Ok(builder.with_no_client_auth());
    }
    let (certificate, key) = &made.client;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    Ok(builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?)
}
