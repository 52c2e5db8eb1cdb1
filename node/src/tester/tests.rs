//! Both commands against a scripted server on a real socket.

use super::*;
use clap::Parser;
use convoy_wire::{
    Connack, ConnackProperties, Cut, Limits, Packet, ProtocolVersion, Puback, Publish, QoS, cut, decode,
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

#[derive(Debug, Parser)]
enum Command {
    #[command(name = "pub")]
    Pub(PubOptions),
    #[command(name = "sub")]
    Sub(SubOptions),
}

fn run(line: &str) -> Result<ExitCode, Error> {
    match Command::try_parse_from(["convoy"].into_iter().chain(line.split_whitespace())).unwrap() {
        Command::Pub(options) => block_on(publish::run(options)),
        Command::Sub(options) => block_on(subscribe::run(options)),
    }
}

/// One connection of a server that speaks 3.1.1.
struct Peer {
    stream: TcpStream,
    inbound: Vec<u8>,
}

impl Peer {
    /// Hands the next packet to `answer`, and sends what it returns; `false` at the end of the connection.
    fn answer(&mut self, answer: impl Fn(&Packet<'_>) -> Vec<Packet<'static>>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            if let Cut::Whole { first, body, length } = cut(&self.inbound, Limits::NONE).unwrap() {
                let answers = answer(&decode(ProtocolVersion::V311, first, body).unwrap());
                let mut out = Vec::new();
                for packet in answers {
                    packet.encode(ProtocolVersion::V311, &mut out).unwrap();
                }
                self.stream.write_all(&out).unwrap();
                self.inbound.drain(..length);
                return true;
            }
            match self.stream.read(&mut buffer).unwrap() {
                0 => return false,
                count => self.inbound.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// A server for one connection: its port, and the packet types it received.
fn serve(
    answer: impl Fn(&Packet<'_>) -> Vec<Packet<'static>> + Send + 'static,
) -> (u16, thread::JoinHandle<Vec<convoy_wire::PacketType>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let types = std::cell::RefCell::new(Vec::new());
        let mut peer = Peer { stream: listener.accept().unwrap().0, inbound: Vec::new() };
        while peer.answer(|packet| {
            types.borrow_mut().push(packet.packet_type());
            answer(packet)
        }) {}
        types.into_inner()
    });
    (port, server)
}

fn accepted() -> Packet<'static> {
    Packet::Connack(Connack {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnackProperties::default(),
    })
}

#[test]
fn pub_ends_well_when_everything_is_acknowledged() {
    use convoy_wire::PacketType::{Connect, Disconnect, Publish};
    let (port, server) = serve(|packet| match packet {
        Packet::Connect(_) => vec![accepted()],
        Packet::Publish(publish) => {
            vec![Packet::Puback(Puback::new(publish.packet_id.unwrap(), ReasonCode::Success))]
        }
        _ => Vec::new(),
    });
    run(&format!("pub -h 127.0.0.1 -p {port} -t doors/1 -m open -q 1 --repeat 3")).unwrap();
    assert_eq!(server.join().unwrap(), [Connect, Publish, Publish, Publish, Disconnect]);
}

#[test]
fn pub_says_how_many_messages_a_broken_connection_leaves_in_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut peer = Peer { stream: listener.accept().unwrap().0, inbound: Vec::new() };
        peer.answer(|_| vec![accepted()]);
        peer.answer(|_| Vec::new());
    });
    let error = run(&format!("pub -h 127.0.0.1 -p {port} -t t -m m -q 1")).unwrap_err();
    assert!(matches!(error, Error::Unfinished { unacknowledged: 1, .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn sub_stops_after_its_count_and_acknowledges_nothing_beyond() {
    use convoy_wire::PacketType::{Connect, Disconnect, Puback, Subscribe};
    let message = |id| {
        Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            topic: "t",
            packet_id: convoy_wire::PacketId::new(id),
            payload: b"",
            ..Publish::default()
        })
    };
    let (port, server) = serve(move |packet| match packet {
        Packet::Connect(_) => vec![accepted()],
        Packet::Subscribe(subscribe) => {
            const GRANTED: &[ReasonCode] = &[ReasonCode::GrantedQoS1];
            let suback = convoy_wire::Suback {
                packet_id: subscribe.packet_id,
                properties: Default::default(),
                reasons: GRANTED.into(),
            };
            vec![Packet::Suback(suback), message(1), message(2), message(3)]
        }
        _ => Vec::new(),
    });
    run(&format!("sub -h 127.0.0.1 -p {port} -t t -q 1 -C 2")).unwrap();
    assert_eq!(server.join().unwrap(), [Connect, Subscribe, Puback, Puback, Disconnect]);
}

#[test]
fn a_refusal_and_an_empty_port_are_told_apart() {
    let (port, server) =
        serve(|_| vec![Packet::Connack(Connack::refused(ReasonCode::BadUserNameOrPassword))]);
    let error = run(&format!("sub -h 127.0.0.1 -p {port} -t t")).unwrap_err();
    assert!(matches!(error, Error::Refused { reason: ReasonCode::BadUserNameOrPassword, .. }), "{error}");
    server.join().unwrap();
    let error = run(&format!("pub -h 127.0.0.1 -p {port} -t t -n")).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused_before_connecting() {
    for (line, part) in [
        ("pub -m x", "to which topic"),
        ("pub -t a/# -m x", "topic a/#"),
        ("sub", "what to subscribe to"),
        ("sub -t a#", "topic filter a#"),
        ("sub -t a -c", "-c needs a Client Identifier"),
        ("sub -t a -V 311 -x 5", "need MQTT 5.0"),
        ("sub -t a -F %z", "there is no %z"),
        ("pub -t a -m x -D will will-delay-interval 1", "needs --will-topic"),
        ("pub -m x -L tcp://host/t", "expected mqtt://"),
    ] {
        let error = run(line).unwrap_err();
        assert!(matches!(&error, Error::Usage(text) if text.contains(part)), "{line}: {error}");
    }
}

#[test]
fn a_url_names_host_port_credentials_and_topic() {
    let line = ["convoy", "pub", "-L", "mqtt://me:secret@[::1]:1999/doors/1", "-n"];
    let Ok(Command::Pub(mut options)) = Command::try_parse_from(line) else { panic!("the line is right") };
    let (client, topic) = options.connection.resolve("pub").unwrap();
    assert_eq!((options.connection.host.as_str(), options.connection.port()), ("::1", 1999));
    assert_eq!(topic.as_deref(), Some("doors/1"));
    assert_eq!(
        (client.username.as_deref(), client.password.as_deref()),
        (Some("me"), Some(b"secret".as_slice()))
    );
}

#[test]
fn the_version_follows_what_only_5_0_has() {
    for (line, version) in [
        ("sub -t a", ProtocolVersion::V311),
        ("sub -t a -V 5", ProtocolVersion::V5),
        ("sub -t a -V mqttv31", ProtocolVersion::V31),
        ("sub -t a -i x -c -x -1", ProtocolVersion::V5),
        ("sub -t a -D subscribe subscription-identifier 3", ProtocolVersion::V5),
    ] {
        let words = ["convoy"].into_iter().chain(line.split_whitespace());
        let Ok(Command::Sub(mut options)) = Command::try_parse_from(words) else { panic!("{line}") };
        assert_eq!(options.connection.resolve("sub").unwrap().0.version, version, "{line}");
    }
}
