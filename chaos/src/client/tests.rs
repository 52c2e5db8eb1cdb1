//! The Client against a Server of a few lines that forgets to answer: what it then does decides whether the suite blames
//! the right side.

use convoy_wire::{
    Connack, ConnackProperties, Cut, Limits, Packet, PacketId, ProtocolVersion, Publish, Pubrec, Pubrel, QoS,
    ReasonCode, cut, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

const VERSION: ProtocolVersion = ProtocolVersion::V5;

/// One connection of the Server, read and written packet by packet.
struct Server {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Server {
    /// Accepts a connection and its CONNECT.
    async fn accept(listener: &TcpListener, session_present: bool) -> Self {
        let (stream, _) = listener.accept().await.expect("a listener");
        let mut server = Self { stream, bytes: Vec::new() };
        assert!(server.next().await.starts_with("Connect"));
        let connack = Connack {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnackProperties::default(),
        };
        server.send(&Packet::Connack(connack)).await;
        server
    }

    async fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(VERSION, &mut bytes).expect("a valid packet");
        self.stream.write_all(&bytes).await.expect("the Client reads");
    }

    async fn publish(&mut self, packet_id: u16, message: &Message) {
        let packet = Publish {
            qos: QoS::ExactlyOnce,
            topic: &message.topic,
            packet_id: PacketId::new(packet_id),
            payload: &message.payload(0),
            ..Publish::default()
        };
        self.send(&Packet::Publish(packet)).await;
    }

    /// The next packet in short: its kind, identifier, DUP, payload.
    async fn next(&mut self) -> String {
        loop {
            if let Cut::Whole { first, body, length } = cut(&self.bytes, Limits::NONE).expect("whole packets")
            {
                let said = match decode(VERSION, first, body).expect("valid packets") {
                    Packet::Connect(_) => "Connect".to_owned(),
                    Packet::Publish(publish) => {
                        let message = Message::parse(publish.payload).expect("of this run");
                        let packet_id = publish.packet_id.map_or(0, |packet_id| packet_id.get());
                        format!("Publish {packet_id} dup {} seq {}", publish.dup, message.seq)
                    }
                    Packet::Pubrec(ack) => format!("Pubrec {}", ack.packet_id.get()),
                    Packet::Pubrel(ack) => format!("Pubrel {}", ack.packet_id.get()),
                    Packet::Pubcomp(ack) => format!("Pubcomp {}", ack.packet_id.get()),
                    other => format!("{other:?}"),
                };
                self.bytes.drain(..length);
                return said;
            }
            let read = self.stream.read_buf(&mut self.bytes).await.expect("the Client writes");
            assert!(read > 0, "the Client has closed");
        }
    }
}

fn id(packet_id: u16) -> PacketId {
    PacketId::new(packet_id).expect("not zero")
}

async fn scene() -> (TcpListener, Client, History) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let history = History::new();
    let client = Client::new("van", VERSION, listener.local_addr().expect("bound"), &history);
    (listener, client, history)
}

#[tokio::test]
async fn unfinished_messages_are_sent_again_in_order_under_their_identifiers() {
    let (listener, mut client, history) = scene().await;
    let server = tokio::spawn(async move {
        let mut server = Server::accept(&listener, false).await;
        for expected in
            ["Publish 1 dup false seq 1", "Publish 2 dup false seq 1", "Publish 3 dup false seq 2"]
        {
            assert_eq!(server.next().await, expected);
        }
        server.send(&Packet::Pubrec(Pubrec::new(id(2), ReasonCode::Success))).await;
        assert_eq!(server.next().await, "Pubrel 2");
        drop(server);
        let mut server = Server::accept(&listener, true).await;
        for expected in ["Publish 1 dup true seq 1", "Pubrel 2", "Publish 3 dup true seq 2"] {
            assert_eq!(server.next().await, expected);
        }
    });
    assert_eq!(client.connect(Terms::lasting()).await, Ok(false));
    client.publish("pos", Qos::AtLeastOnce, Retain::No).await.expect("connected");
    client.publish("pos", Qos::ExactlyOnce, Retain::No).await.expect("connected");
    client.publish("pos", Qos::AtLeastOnce, Retain::No).await.expect("connected");
    assert_eq!(client.settle(Instant::now() + PATIENCE).await, Err(Gone::Closed));
    assert_eq!(client.connect(Terms::lasting()).await, Ok(true));
    // The Server closes when it has seen what it waits for.
    let _ = client.settle(Instant::now() + PATIENCE).await;
    server.await.expect("the Server saw what it should");
    let accepted =
        |level| history.any(|what| matches!(what, What::Accepted { message, .. } if message.qos == level));
    assert!(accepted(Qos::ExactlyOnce) && !accepted(Qos::AtLeastOnce), "no answer is no acknowledgement");
}

#[tokio::test]
async fn session_that_is_gone_takes_unfinished_messages_with_it() {
    let (listener, mut client, _) = scene().await;
    let server = tokio::spawn(async move {
        let mut server = Server::accept(&listener, false).await;
        assert_eq!(server.next().await, "Publish 1 dup false seq 1");
        drop(server);
        let mut server = Server::accept(&listener, false).await;
        assert_eq!(
            server.next().await,
            "Publish 1 dup false seq 2",
            "a new message, the old one stays unknown"
        );
    });
    client.connect(Terms::lasting()).await.expect("a listener");
    client.publish("pos", Qos::ExactlyOnce, Retain::No).await.expect("connected");
    client.settle(Instant::now() + PATIENCE).await.expect_err("closed");
    client.connect(Terms::lasting()).await.expect("a listener");
    assert_eq!(client.in_flight(), 0);
    client.publish("pos", Qos::ExactlyOnce, Retain::No).await.expect("connected");
    server.await.expect("the Server saw what it should");
}

#[tokio::test]
async fn received_twice_before_the_pubrel_is_delivered_once_and_after_it_again() {
    let (listener, mut client, history) = scene().await;
    let message = Message::new(&"desk".into(), &"cmd".into(), Qos::ExactlyOnce, 1);
    let server = tokio::spawn(async move {
        let mut server = Server::accept(&listener, false).await;
        server.publish(5, &message).await;
        assert_eq!(server.next().await, "Pubrec 5");
        drop(server);
        let mut server = Server::accept(&listener, true).await;
        server.publish(5, &message).await;
        assert_eq!(server.next().await, "Pubrec 5");
        server.send(&Packet::Pubrel(Pubrel::new(id(5), ReasonCode::Success))).await;
        assert_eq!(server.next().await, "Pubcomp 5");
        // A Server that does this delivers twice, and the history has to show it.
        server.publish(5, &message).await;
        assert_eq!(server.next().await, "Pubrec 5");
    });
    client.connect(Terms::lasting()).await.expect("a listener");
    client.pump(Instant::now() + PATIENCE).await.expect_err("closed");
    client.connect(Terms::lasting()).await.expect("a listener");
    client.pump(Instant::now() + PATIENCE).await.expect_err("closed");
    server.await.expect("the Server saw what it should");
    let events = history.events();
    let delivered = events.iter().filter(|event| matches!(event.what, What::Delivered { .. })).count();
    assert_eq!(delivered, 2);
}
