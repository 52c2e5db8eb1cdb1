//! Files of certificates: what is said of wrong ones before anything starts, and what happens when they change.

use crate::authority::{Authority, DAY};
use crate::mqtt::{TlsClient, ping};
use crate::node::{Folder, Node};

const TEXT: &str = "[mqtt]\nlisteners = [\"mqtts://127.0.0.1:0\"]\n[tls]\ncertificate = \"@server.pem\"\nkey = \
                    \"@server.key\"\nclient_ca = \"@ca.pem\"\nclient_crl = \"@crl.pem\"\nclient_certificate = \
                    \"optional\"\n";

/// As `openssl x509 -req` makes one without a file of extensions.
const OF_VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBIzCBywIUbUZc+GLBoJUywxhd5pK39UTulDkwCgYIKoZIzj0EAwIwFDESMBAG\n\
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE0NDIxM1oYDzIxMjYxMTA1MTQ0MjEz\n\
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AASP/gDeCgpL1gzTJnmAtqL/l1VkqYF7skMGaPSTq2gM8cfVcoPyWuCPeSp4sijp\n\
h/1V7K2cDcqBGklXJlADrgt1MAoGCCqGSM49BAMCA0cAMEQCIC9mcT6bvQrzChgC\n\
i/r+hg0nvtProRKDD1t+6VA39TaDAiAml4x+CJwz6xnrMQF0zKIGuE2c+/NHYUqS\n\
a8CteOU26g==\n\
-----END CERTIFICATE-----\n\
";

fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    folder.write("ca.pem", &authority.pem());
    folder.write("crl.pem", &authority.revoke(&[]));
    folder
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong_and_the_line_that_names_it() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    assert!(folder.check(TEXT).status.success());

    let right = authority.server(&["localhost"]);
    let expired = authority.pair("localhost", &["localhost"], 1, -9 * DAY, -3 * DAY);
    let early = authority.pair("localhost", &["localhost"], 1, 2 * DAY + 60, 3 * DAY);
    let other = authority.server(&["localhost"]);
    let cases = [
        ("server.pem", expired.certificate.as_str(), 4, "its certificate expired 3 days ago"),
        ("server.pem", &early.certificate, 4, "its certificate is not valid yet, but 2 days from now"),
        ("server.pem", "", 4, "it is empty"),
        ("server.pem", "hello", 4, "it holds no certificate in PEM"),
        ("server.pem", &right.key, 4, "it holds no certificate in PEM"),
        ("server.key", &other.key, 5, "its private key does not fit the certificate in"),
        ("server.key", "", 5, "it is empty"),
        ("server.key", &right.certificate, 5, "it holds no private key in PEM"),
        (
            "server.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            5,
            "its private key is encrypted",
        ),
        (
            "server.key",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n",
            5,
            "its private key is encrypted",
        ),
        ("server.pem", OF_VERSION_1, 4, "its certificate is of X.509 version 1"),
        ("ca.pem", "hello", 6, "it holds no certificate in PEM"),
        ("crl.pem", &right.certificate, 7, "it holds no list of revoked certificates"),
    ];
    for (name, content, line, expected) in cases {
        right.write(&folder, "server");
        folder.write("ca.pem", &authority.pem());
        folder.write("crl.pem", &authority.revoke(&[]));
        folder.write(name, content);
        let complaints = folder.complaints(TEXT);
        let file = folder.path(name).display().to_string();
        assert!(complaints.contains(&format!("{file}: {expected}")), "{expected}: {complaints}");
        assert!(complaints.contains(&format!("convoy.toml:{line}: ")), "{expected}: {complaints}");
    }
    std::fs::remove_file(folder.path("server.key")).expect("it was there");
    folder.write("crl.pem", &authority.revoke(&[]));
    assert!(folder.complaints(TEXT).contains("server.key: it cannot be read: No such file"));
}

#[test]
fn a_new_certificate_is_taken_up_and_nobody_loses_the_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut node = Node::start(folder(&old), TEXT);
    let mut before = TlsClient::plain(&old).join(node.addr("mqtts")).expect("it is served");
    TlsClient::plain(&new).join(node.addr("mqtts")).expect_err("it is not known yet");

    new.server(&["localhost"]).write(&node.folder, "server");
    node.wait_for("certificates were read again");
    TlsClient::plain(&new).join(node.addr("mqtts")).expect("the new one is shown");
    TlsClient::plain(&old).join(node.addr("mqtts")).expect_err("the old one is gone");
    ping(&mut before).expect("it is still served");
    node.wait_for_metric(&["convoy_certificate_reloads_total", "outcome=\"taken\""]);
}

#[test]
fn a_broken_new_certificate_keeps_the_old_one_until_it_is_mended() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut node = Node::start(folder(&old), TEXT);
    let next = new.server(&["localhost"]);
    node.folder.write("server.pem", &next.certificate);
    node.wait_for("new certificates are not used, the old ones are kept");
    assert!(node.log().contains("server.key: its private key does not fit"), "{}", node.log());
    TlsClient::plain(&old).join(node.addr("mqtts")).expect("the old one is shown");

    next.write(&node.folder, "server");
    node.wait_for("certificates were read again");
    TlsClient::plain(&new).join(node.addr("mqtts")).expect("the new one is shown");
}

#[test]
fn what_ends_soon_or_has_ended_is_warned_of() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    authority.pair("localhost", &["localhost"], 1, -DAY, 5 * DAY + 60).write(&folder, "server");
    let mut node = Node::start(folder, TEXT);
    node.wait_for("the certificate expires 5 days from now");
    node.folder.write("crl.pem", &authority.revoke_until(&[], 2025));
    node.wait_for("the list of revoked certificates has expired");
    node.wait_for_metric(&["convoy_certificate_expiry_timestamp_seconds", "server.pem"]);
}

#[test]
fn the_data_folder_is_private_whatever_the_umask_and_whoever_made_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = Folder::new();
    let data = folder.path("data");
    // As an earlier release left it: a folder and a file that everybody may read.
    std::fs::create_dir(&data).expect("a folder");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let node = Node::start(folder, "[mqtt]\nlisteners = [\"127.0.0.1:0\"]\n");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&data).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert!(files.iter().any(|file| file.ends_with("CURRENT")));
    for file in files.iter().filter(|file| file.is_file()) {
        assert_eq!(mode(file) & 0o077, 0, "{}", file.display());
    }
    drop(node);
}
