//! An authority and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::node::Folder;

pub const DAY: i64 = 86_400;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and of its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// As `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Folder, name: &str) {
        folder.write(&format!("{name}.pem"), &self.certificate);
        folder.write(&format!("{name}.key"), &self.key);
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn server(&self, names: &[&str]) -> Pair {
        self.pair(names[0], names, 1, -DAY, 90 * DAY)
    }

    pub fn client(&self, common_name: &str, serial: u64) -> Pair {
        self.pair(common_name, &[], serial, -DAY, 90 * DAY)
    }

    /// Valid between two moments, in seconds from now.
    pub fn pair(&self, common_name: &str, names: &[&str], serial: u64, from: i64, until: i64) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(serial));
        let moment = |from_now: i64| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
            date_time_ymd(1970, 1, 1)
                + Duration::from_secs(now.checked_add_signed(from_now).expect("a moment"))
        };
        (params.not_before, params.not_after) = (moment(from), moment(until));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The list of what it has revoked, by serial number.
    pub fn revoke(&self, serials: &[u64]) -> String {
        self.revoke_until(serials, 2099)
    }

    /// The same, with the year in which the next list was due.
    pub fn revoke_until(&self, serials: &[u64], year: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("a list").pem().expect("text")
    }
}
