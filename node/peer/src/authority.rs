//! Who is of the fleet: whoever has a certificate of its authority. Every member holds the authority itself, and mints its own
//! certificate at each start: nothing runs out on a node that is started now and then, and no member waits for another one to
//! be certified. Whoever holds one member's data folder holds the fleet: it has the fleet's messages as well.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoy_ids::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use ring::digest::{SHA256, digest};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName as Name, RootCertStore, ServerConfig,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::door::{CALL, LINK};
use crate::file;

const CERTIFICATE: &str = "fleet-ca.pem";
const KEY: &str = "fleet-ca.key";

/// Of the form that [`Authority::to_bytes`] writes.
const VERSION: u8 = 1;

/// Ends every name of a member. It stands in no name service: `.internal` is kept for that.
const DOMAIN: &str = "convoy.internal";

/// In front of the fleet, in the name of its authority.
const FLEET: &str = "Convoy fleet ";

/// A certificate is valid from so long ago: clocks of nodes differ.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// A node that runs for longer is to be started again.
const MEMBER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const AUTHORITY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
    #[error("the certificates of the fleet cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    #[error("the verifier of certificates could not be made")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    File(#[from] file::Error),
    #[error("{} is no certificate of a fleet: {reason}; put back the one that was there", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} is not the key of {CERTIFICATE} beside it; put back the one that was there", path.display())]
    NotItsKey { path: PathBuf },
    #[error("what a member has sent is no authority of a fleet: {0}")]
    Senseless(&'static str),
    #[error("no certificate was shown")]
    None,
    #[error("the certificate is of no node: {0}")]
    NoNode(String),
    #[error("the certificate is of a node of another fleet")]
    AnotherFleet,
}

/// The authority of one fleet.
pub struct Authority {
    fleet: [u8; 16],
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// That of a new fleet.
    pub fn found(fleet: [u8; 16]) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params(fleet).self_signed(&key)?.der().clone();
        Ok(Self { fleet, certificate, key })
    }

    pub fn fleet(&self) -> [u8; 16] {
        self.fleet
    }

    /// By which a node that has only a token knows the fleet.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// For a node that has joined. It is secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&(self.certificate.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.certificate);
        bytes.extend_from_slice(self.key.serialized_der());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let short = Error::Senseless("it is cut short");
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(Error::Senseless("it is of another version"));
        };
        let Some((length, rest)) = rest.split_first_chunk() else { return Err(short) };
        let Some((certificate, key)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Err(short);
        };
        let fleet = fleet_of(certificate).map_err(|_| Error::Senseless("its certificate cannot be read"))?;
        let key = KeyPair::try_from(key).map_err(|_| Error::Senseless("its key cannot be read"))?;
        if !is_key_of(&key, certificate) {
            return Err(Error::Senseless("its key is of another certificate"));
        }
        Ok(Self { fleet, certificate: certificate.to_vec().into(), key })
    }

    /// What a data folder has; `None` if there is nothing.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let (path, key_path) = (folder.join(CERTIFICATE), folder.join(KEY));
        let Some(pem) = file::read(&path)? else { return Ok(None) };
        let unreadable = |reason: String| Error::Unreadable { path: path.clone(), reason };
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|error| unreadable(error.to_string()))?;
        let fleet = fleet_of(&certificate).map_err(unreadable)?;
        let not_its_key = || Error::NotItsKey { path: key_path.clone() };
        let key = file::read(&key_path)?.ok_or_else(not_its_key)?;
        let key = String::from_utf8(key).map_err(|_| not_its_key())?;
        let key = KeyPair::from_pem(&key).map_err(|_| not_its_key())?;
        match is_key_of(&key, &certificate) {
            true => Ok(Some(Self { fleet, certificate, key })),
            false => Err(not_its_key()),
        }
    }

    /// Puts it into a data folder. Another one that is there stays, and is an error.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()));
        // A key without its certificate is no authority: a crash between the two leaves none.
        file::keep(&folder.join(KEY), self.key.serialize_pem().as_bytes())?;
        file::keep(&folder.join(CERTIFICATE), pem.as_bytes())?;
        Ok(())
    }

    /// A new certificate for a node, with a key of its own.
    pub fn certify(&self, node: NodeId) -> Result<Identity, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut of_node = CertificateParams::new(vec![name_of(node, self.fleet)])?;
        lasts(&mut of_node, MEMBER);
        of_node.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        of_node.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        of_node.use_authority_key_identifier_extension = true;
        let of_fleet = params(self.fleet);
        let issuer = Issuer::from_params(&of_fleet, &self.key);
        let certificate = of_node.signed_by(&key, &issuer)?.der().clone();
        Identity::new(&self.certificate, certificate, &key)
    }
}

fn lasts(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - BEFORE).into(), (now + time).into());
}

fn params(fleet: [u8; 16]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("{FLEET}{}", hex(&fleet)));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasts(&mut params, AUTHORITY);
    params
}

/// What a node shows to others, and how it judges what they show.
pub struct Identity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    fn new(
        authority: &CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let roots = Arc::new(roots);
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        // Whoever joins has nothing but the fingerprint of the authority, and looks for it in the chain.
        let chain = vec![certificate, authority.clone()];
        let provider = Arc::new(provider::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key())?;
        server.alpn_protocols = vec![LINK.to_vec(), CALL.to_vec()];
        // Each link is a handshake in full: there are few, and nothing that was removed comes in by an old ticket.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key())?;
        client.alpn_protocols = vec![LINK.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// For connections that come.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For links that are dialled, each to the node of a name: see [`server_name`].
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// For a node that has a token and no certificate yet: it trusts whoever the authority of this fingerprint has certified.
pub fn joining_config(fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(Pinned { fingerprint, provider: Arc::clone(&provider) });
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.alpn_protocols = vec![CALL.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

/// The name in the certificate of a member.
pub fn server_name(node: NodeId, fleet: [u8; 16]) -> ServerName<'static> {
    ServerName::try_from(name_of(node, fleet)).expect("it is made of letters, digits and dots")
}

/// Whose certificate this is. It was verified by the handshake.
pub fn node_of(certificates: Option<&[CertificateDer<'_>]>, fleet: [u8; 16]) -> Result<NodeId, Error> {
    let certificate = certificates.and_then(|certificates| certificates.first()).ok_or(Error::None)?;
    let wrong = |reason: &str| Error::NoNode(reason.to_owned());
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| Error::NoNode(error.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|error| Error::NoNode(error.to_string()))?;
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let [GeneralName::DNSName(name)] = names else { return Err(wrong("it has not exactly one name")) };
    let mut parts = name.split('.');
    let node = parts.next().and_then(|part| part.strip_prefix('n')).filter(|part| part.len() == 16);
    let of_fleet = parts.next().and_then(|part| part.strip_prefix('f')).filter(|part| part.len() == 32);
    let (Some(node), Some(of_fleet)) = (node, of_fleet) else { return Err(wrong(name)) };
    let node = u64::from_str_radix(node, 16).ok().and_then(NodeId::new).ok_or_else(|| wrong(name))?;
    if of_fleet != hex(&fleet) {
        return Err(Error::AnotherFleet);
    }
    // So nothing else of the name is anything else.
    if *name != name_of(node, fleet) { Err(wrong(name)) } else { Ok(node) }
}

fn name_of(node: NodeId, fleet: [u8; 16]) -> String {
    format!("n{:016x}.f{}.{DOMAIN}", node.get(), hex(&fleet))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    digest(&SHA256, certificate).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn is_key_of(key: &KeyPair, certificate: &[u8]) -> bool {
    use rcgen::PublicKeyData as _;
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
}

/// The fleet of an authority, by its name.
fn fleet_of(certificate: &[u8]) -> Result<[u8; 16], String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.and_then(|name| name.strip_prefix(FLEET)).ok_or("it is of something else")?;
    let number = u128::from_str_radix(name, 16).map_err(|_| "it is of something else")?;
    Ok(number.to_be_bytes())
}

/// Trusts one authority by its fingerprint.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_pinned = |shown: &&CertificateDer<'_>| fingerprint(shown) == self.fingerprint;
        let Some(authority) = intermediates.iter().find(is_pinned) else {
            return Err(rustls::Error::General(
                "the token is of another fleet than the node that answers".into(),
            ));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots,
            &[],
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("members speak TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[Name]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const FLEET: [u8; 16] = [7; 16];

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Who each side took the other one for, if they shook hands.
    async fn shake(
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(Option<NodeId>, Vec<u8>), String> {
        let (near, far) = duplex(1 << 16);
        let come = async {
            let mut stream =
                TlsAcceptor::from(server).accept(far).await.map_err(|error| error.to_string())?;
            let (_, session) = stream.get_ref();
            let shown = node_of(session.peer_certificates(), FLEET).ok();
            let protocol = session.alpn_protocol().unwrap_or_default().to_vec();
            stream.write_all(b"x").await.map_err(|error| error.to_string())?;
            stream.shutdown().await.map_err(|error| error.to_string())?;
            Ok((shown, protocol))
        };
        let dial = async {
            let connected = TlsConnector::from(client).connect(name, near).await;
            let mut stream = connected.map_err(|error| error.to_string())?;
            stream.read_u8().await.map_err(|error| error.to_string())
        };
        let (came, dialled) = tokio::join!(come, dial);
        dialled?;
        came
    }

    #[tokio::test]
    async fn members_know_each_other_and_nobody_else() {
        let [ours, theirs] = [FLEET, [8; 16]].map(|fleet| Authority::found(fleet).unwrap());
        let [one, two] = [1, 2].map(|number| ours.certify(node(number)).unwrap());
        let stranger = theirs.certify(node(2)).unwrap();
        let to = |number| server_name(node(number), FLEET);
        let shaken = shake(one.server_config(), two.client_config(), to(1)).await.unwrap();
        assert_eq!(shaken, (Some(node(2)), LINK.to_vec()));
        // It is a member, and another one than was dialled.
        let error = shake(one.server_config(), two.client_config(), to(3)).await.unwrap_err();
        assert!(error.contains("certificate"), "{error}");
        // Either side of another fleet.
        assert!(shake(one.server_config(), stranger.client_config(), to(1)).await.is_err());
        assert!(shake(stranger.server_config(), two.client_config(), to(2)).await.is_err());
    }

    #[tokio::test]
    async fn who_has_a_token_knows_the_fleet_and_is_nobody_yet() {
        let [ours, theirs] = [FLEET, [8; 16]].map(|fleet| Authority::found(fleet).unwrap());
        let member = ours.certify(node(1)).unwrap();
        let name = ServerName::try_from("whoever.convoy.internal").unwrap();
        let joining = joining_config(ours.fingerprint()).unwrap();
        let shaken = shake(member.server_config(), joining, name.clone()).await.unwrap();
        assert_eq!(shaken, (None, CALL.to_vec()));
        let joining = joining_config(theirs.fingerprint()).unwrap();
        let error = shake(member.server_config(), joining, name).await.unwrap_err();
        assert!(error.contains("of another fleet"), "{error}");
    }

    #[test]
    fn a_joiner_gets_the_same_authority() {
        let founded = Authority::found(FLEET).unwrap();
        let given = Authority::from_bytes(&founded.to_bytes()).unwrap();
        assert_eq!((given.fleet(), given.fingerprint()), (FLEET, founded.fingerprint()));
        let bytes = founded.to_bytes();
        for cut in 0..bytes.len() {
            assert!(Authority::from_bytes(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let mut mixed = bytes[..bytes.len() - founded.key.serialized_der().len()].to_vec();
        mixed.extend_from_slice(Authority::found(FLEET).unwrap().key.serialized_der());
        assert!(matches!(Authority::from_bytes(&mixed), Err(Error::Senseless(_))));
        assert_eq!(format!("{founded:?}"), "Authority");
    }

    #[test]
    fn a_folder_has_one_authority_or_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert!(Authority::read(at).unwrap().is_none());
        let founded = Authority::found(FLEET).unwrap();
        founded.keep(at).unwrap();
        founded.keep(at).unwrap();
        let read = Authority::read(at).unwrap().unwrap();
        assert_eq!((read.fleet(), read.fingerprint()), (FLEET, founded.fingerprint()));
        let other = Authority::found([8; 16]).unwrap();
        assert!(other.keep(at).unwrap_err().to_string().contains("of another fleet"));
        std::fs::write(at.join(KEY), other.key.serialize_pem()).unwrap();
        let error = Authority::read(at).unwrap_err().to_string();
        assert!(error.contains("is not the key of fleet-ca.pem"), "{error}");
        std::fs::write(at.join(CERTIFICATE), "garbled").unwrap();
        let error = Authority::read(at).unwrap_err().to_string();
        assert!(error.contains("is no certificate of a fleet"), "{error}");
    }

    #[test]
    fn only_a_certificate_of_one_node_names_one() {
        let ours = Authority::found(FLEET).unwrap();
        let of = |names: &[&str]| {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            node_of(Some(&[certificate.der().clone()]), FLEET)
        };
        let (name, other) = (name_of(node(5), FLEET), name_of(node(5), [8; 16]));
        assert_eq!(of(&[&name]).unwrap(), node(5));
        assert!(matches!(of(&[&other]), Err(Error::AnotherFleet)));
        let upper = name.to_uppercase();
        for names in [&[][..], &[&name[..], &other], &["convoy.internal"], &[&upper]] {
            assert!(matches!(of(names), Err(Error::NoNode(_))), "{names:?}");
        }
        assert!(matches!(of(&[&format!("{name}.example")]), Err(Error::NoNode(_))));
        assert!(matches!(
            of(&[&name.replace("n0000000000000005", "n0000000000000000")]),
            Err(Error::NoNode(_))
        ));
        assert!(matches!(node_of(None, FLEET), Err(Error::None)));
        assert!(matches!(node_of(Some(&[ours.certificate]), FLEET), Err(Error::NoNode(_))));
    }
}
