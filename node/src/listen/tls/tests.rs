use super::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use std::time::Duration;

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::new([]).expect("parameters");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

#[test]
fn a_client_is_read_with_all_its_names() {
    let der = certificate(|params| {
        params.distinguished_name.push(DnType::OrganizationName, "Cars");
        params.distinguished_name.push(DnType::CommonName, "VIN42");
        params.subject_alt_names = vec![
            SanType::DnsName("vin42.cars.example".try_into().expect("a name")),
            SanType::URI("spiffe://cars/vin42".try_into().expect("a URI")),
            SanType::Rfc822Name("vin42@cars.example".try_into().expect("an address")),
            SanType::IpAddress([10, 0, 0, 42].into()),
            SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
        ];
    });
    let certificate = read_client(&[der.into()]).expect("it can be read");
    assert_eq!(certificate.common_name.as_deref(), Some("VIN42"));
    let expected = ["vin42.cars.example", "spiffe://cars/vin42", "vin42@cars.example", "10.0.0.42", "::1"];
    assert_eq!(certificate.alternative_names, expected);
}

#[test]
fn a_client_without_a_common_name_has_none() {
    let der = certificate(|params| params.distinguished_name = rcgen::DistinguishedName::new());
    assert_eq!(read_client(&[der.into()]).expect("it can be read").common_name, None);
    assert_eq!(read_client(&[b"no certificate"[..].into()]), None);
}

#[test]
fn a_certificate_out_of_date_is_not_believed_though_a_ticket_says_that_it_was_judged() {
    let until = |time| {
        let der = certificate(|params| params.not_after = time);
        read_client(&[der.into()])
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    assert!(until(epoch + now + Duration::from_secs(60)).is_some());
    assert_eq!(until(epoch + now - Duration::from_secs(60)), None);
}

#[test]
fn a_star_stands_for_one_label() {
    let names = Names { hosts: vec!["*.cars.example".to_owned(), "Here".to_owned()], ..Names::default() };
    let asked =
        ["vin42.cars.example", "VIN42.CARS.example", "here", "cars.example", "a.b.cars.example", "there"];
    assert_eq!(asked.map(|name| names.cover(name)), [true, true, true, false, false, false]);
}
