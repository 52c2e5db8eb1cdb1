//! What Clients that are connected feel of a fleet that comes back over TLS: the time of a PING while handshakes go on.
//!
//!     cargo bench -p convoy --bench handshakes [-- HANDSHAKES]

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Vehicles that connect at the same time, a thread each.
const VEHICLES: usize = 64;

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let handshakes = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(2000);
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    std::fs::write(folder.path().join("c.pem"), certificate.pem()).expect("a file");
    std::fs::write(folder.path().join("k.pem"), key.serialize_pem()).expect("a file");
    let (plain, tls, api) = (free(), free(), free());
    let text = format!(
        "[tls]\ncertificate = \"{0}/c.pem\"\nkey = \"{0}/k.pem\"\n[mqtt]\nlisteners = [\"{plain}\", \
         \"mqtts://{tls}\"]\n[api]\naddr = \"{api}\"\n[limits]\nconnects_per_second = 100000\nconnections = 100000\n",
        folder.path().display()
    );
    std::fs::write(folder.path().join("convoy.toml"), text).expect("a file");
    let node = Command::new(env!("CARGO_BIN_EXE_convoy"))
        .args(["serve", "--config"])
        .arg(folder.path().join("convoy.toml"))
        .arg("--data")
        .arg(folder.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("convoy runs");
    let _node = Node(node);
    let begin = Instant::now();
    while TcpStream::connect(plain).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it does not start");
        std::thread::sleep(Duration::from_millis(50));
    }

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);

    // As many as there may be shards, so that each has at least one.
    let pingers = std::thread::available_parallelism().map_or(2, usize::from);
    report("idle", pings(plain, pingers, || std::thread::sleep(Duration::from_secs(2))));
    let begin = Instant::now();
    let times = pings(plain, pingers, || storm(tls, &config, handshakes));
    report("storm", times);
    let took = begin.elapsed().as_secs_f64();
    println!("{handshakes} handshakes in {took:.1} s, {:.0} a second", handshakes as f64 / took);
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn connect(name: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + name.len() as u8, 0, 4];
    packet.extend(b"MQTT\x04\x02\0\0\0");
    packet.push(name.len() as u8);
    packet.extend(name.as_bytes());
    packet
}

/// How long PINGRESP takes, every 2 ms for each of some Clients, while something goes on.
fn pings(addr: SocketAddr, clients: usize, meanwhile: impl FnOnce()) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                let done = &done;
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(addr).expect("a connection");
                    stream.set_nodelay(true).expect("an option");
                    stream.write_all(&connect(&format!("pinger-{number}"))).expect("it is taken");
                    stream.read_exact(&mut [0; 4]).expect("CONNACK");
                    let mut times = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        stream.write_all(&[0xC0, 0]).expect("it is taken");
                        stream.read_exact(&mut [0; 2]).expect("PINGRESP");
                        times.push(begin.elapsed());
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    times
                })
            })
            .collect();
        meanwhile();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("a Client")).collect()
    })
}

/// Clients that connect by TLS and by MQTT, and leave.
fn storm(addr: SocketAddr, config: &Arc<ClientConfig>, handshakes: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for vehicle in 0..VEHICLES {
            let next = &next;
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < handshakes {
                    let name = ServerName::try_from("localhost").expect("a name");
                    let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
                    let socket = TcpStream::connect(addr).expect("a connection");
                    socket.set_nodelay(true).expect("an option");
                    let mut stream = StreamOwned::new(session, socket);
                    stream.write_all(&connect(&format!("vehicle-{vehicle}"))).expect("it is taken");
                    stream.read_exact(&mut [0; 4]).expect("CONNACK");
                }
            });
        }
    });
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{name}: {} pings, median {:.2} ms, 99 % {:.2} ms, 99.9 % {:.2} ms, longest {:.2} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
