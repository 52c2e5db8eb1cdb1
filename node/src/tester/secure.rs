//! How the tester's Clients prove who they are and whom they trust, with the options that mosquitto's clients have.

use super::Error;
use clap::Args;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// TLS is spoken when somebody is named who is trusted.
#[derive(Clone, Debug, Default, Args)]
pub struct SecureOptions {
    /// Use TLS, and trust the authorities in this file
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// Use TLS, and trust the authorities in the files of this folder
    #[arg(long, value_name = "DIR")]
    pub capath: Option<PathBuf>,
    /// Use TLS, and trust the authorities that the operating system trusts
    #[arg(long, visible_alias = "tls")]
    pub tls_use_os_certs: bool,
    /// Our own certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Trust a certificate whatever host it names; for tests only
    #[arg(long)]
    insecure: bool,
    /// Protocol to agree on by ALPN, such as mqtt
    #[arg(long = "tls-alpn", visible_alias = "alpn", value_name = "NAME")]
    alpn: Option<String>,
    /// tlsv1.3 or tlsv1.2, and nothing else
    #[arg(long, value_name = "VERSION", value_parser = ["tlsv1.3", "tlsv1.2"])]
    tls_version: Option<String>,
    /// Use WebSocket
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket
    #[arg(long, default_value = "/mqtt", value_name = "PATH")]
    pub ws_path: String,
}

impl SecureOptions {
    pub fn is_tls(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some() || self.tls_use_os_certs
    }

    /// The port where nobody said one.
    pub fn default_port(&self) -> u16 {
        match (self.is_tls(), self.ws) {
            (false, false) => 1883,
            (true, false) => 8883,
            (false, true) => 80,
            (true, true) => 443,
        }
    }

    /// What a TLS connection needs; none without TLS.
    pub fn config(&self) -> Result<Option<Arc<ClientConfig>>, Error> {
        if !self.is_tls() {
            if self.cert.is_some() || self.insecure || self.alpn.is_some() || self.tls_version.is_some() {
                return Err(usage("TLS needs --cafile, --capath or --tls-use-os-certs".to_owned()));
            }
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match self.tls_version.as_deref() {
            Some("tlsv1.3") => &[&rustls::version::TLS13],
            Some(_) => &[&rustls::version::TLS12],
            None => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider))
            .build()
            .map_err(|error| usage(format!("nobody can be trusted: {error}")))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| usage(error.to_string()))?;
        let builder = match self.insecure {
            true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
            false => builder.with_webpki_verifier(verifier),
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, key)
                    .map_err(|error| wrong(cert, &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match (&self.alpn, self.ws) {
            (Some(name), _) => vec![name.clone().into_bytes()],
            (None, true) => vec![b"http/1.1".to_vec()],
            (None, false) => Vec::new(),
        };
        Ok(Some(Arc::new(config)))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.cafile {
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| wrong(path, &error))?;
            }
        }
        if let Some(folder) = &self.capath {
            let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, &error))?;
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
                // Such folders hold other files too.
                roots.add_parsable_certificates(certificates(&path).unwrap_or_default());
            }
        }
        if self.tls_use_os_certs {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(usage("there is no authority to trust in what was named".to_owned()));
        }
        Ok(Arc::new(roots))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| wrong(path, &error));
    match found {
        Ok(found) if found.is_empty() => {
            Err(usage(format!("{}: it holds no certificate in PEM", path.display())))
        }
        found => found,
    }
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Error {
    usage(format!("{}: {error}", path.display()))
}

fn usage(text: String) -> Error {
    Error::Usage(text)
}

/// Judges everything but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
