//! The generator of load, where mqload is not there to do it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::Failure;
use super::compare::{Load, WINDOW};
use super::connection::READ_BYTES;
use super::mqtt::{CONNECT, PUBACK, PUBLISH, SUBSCRIBE, packet, put_packet, put_text, text};

const PAYLOAD: usize = 64;
const WARMUP: Duration = Duration::from_millis(500);

/// A closed loop: each publisher writes a window of messages, and the next one once all of it has arrived everywhere and
/// is acknowledged. Nothing else can be under way, so that what comes too often is noticed, and what is lost stalls it.
struct Generator {
    qos: u8,
    /// Deliveries and acknowledgements that one window causes.
    due_a_window: usize,
    /// By publisher.
    due: Vec<Cell<usize>>,
    arrived: Vec<Notify>,
    delivered: Cell<u64>,
}

pub fn generate(load: &Load<'_>, port: u16, pid: u32, span: Duration) -> Result<(), Failure> {
    let receivers = if load.mode == "fanout" { load.subs } else { 1 };
    let due_a_window = WINDOW * (receivers + usize::from(load.qos));
    let generator = Rc::new(Generator {
        qos: load.qos,
        due_a_window,
        due: (0..load.pubs).map(|_| Cell::new(0)).collect(),
        arrived: (0..load.pubs).map(|_| Notify::new()).collect(),
        delivered: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let topic = |number: usize| match load.mode {
            "fanout" => "bench/all".to_owned(),
            _ => format!("bench/{number}"),
        };
        for number in 0..load.subs {
            let filter = if load.mode == "fanin" { "bench/#".to_owned() } else { topic(number) };
            let mut stream = connect(port).await?;
            let mut body = vec![0, 1];
            put_text(&mut body, &filter);
            body.push(load.qos);
            exchange(&mut stream, SUBSCRIBE << 4 | 2, &body, 5).await?;
            let (input, output) = stream.into_split();
            tokio::task::spawn_local(Rc::clone(&generator).read(input, Some(output), 0));
        }
        for number in 0..load.pubs {
            let (input, output) = connect(port).await?.into_split();
            tokio::task::spawn_local(Rc::clone(&generator).read(input, None, number));
            tokio::task::spawn_local(Rc::clone(&generator).publish(output, number, topic(number)));
        }
        tokio::time::sleep(WARMUP).await;
        let (begun, cpu_before, before) = (Instant::now(), cpu_ticks(pid)?, generator.delivered.get());
        tokio::time::sleep(span).await;
        let (took, cpu, after) = (begun.elapsed(), cpu_ticks(pid)? - cpu_before, generator.delivered.get());
        let messages = after - before;
        if messages == 0 {
            return Err("nothing was delivered".into());
        }
        let report = serde_json::json!({
            "broker_cpu_us_per_msg": cpu as f64 * TICK_MICROSECONDS / messages as f64,
            "msgs_per_s": messages as f64 / took.as_secs_f64(),
            "delivered": after,
        });
        println!("{report}");
        Ok(())
    })
}

impl Generator {
    async fn publish(
        self: Rc<Self>,
        mut output: tokio::net::tcp::OwnedWriteHalf,
        number: usize,
        topic: String,
    ) {
        let mut window = Vec::new();
        for packet_id in 1..=WINDOW as u16 {
            let mut body = Vec::new();
            put_text(&mut body, &topic);
            if self.qos > 0 {
                body.extend_from_slice(&packet_id.to_be_bytes());
            }
            body.extend_from_slice(&(number as u32).to_be_bytes());
            body.resize(body.len() + PAYLOAD - 4, b'.');
            put_packet(&mut window, PUBLISH << 4 | self.qos << 1, &body);
        }
        loop {
            self.due[number].set(self.due_a_window);
            output.write_all(&window).await.expect("the relay keeps its connections");
            self.arrived[number].notified().await;
        }
    }

    /// Takes what comes on one connection. `output` is for the acknowledgements of a subscriber, `number` is that of a
    /// publisher.
    async fn read(
        self: Rc<Self>,
        mut input: tokio::net::tcp::OwnedReadHalf,
        mut output: Option<tokio::net::tcp::OwnedWriteHalf>,
        number: usize,
    ) {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let mut acknowledgements = Vec::new();
        while input.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let mut at = 0;
            while let Some((body_at, len)) = packet(&bytes[at..]) {
                let frame = &bytes[at..at + len];
                at += len;
                if frame[0] >> 4 != PUBLISH {
                    self.came(number);
                    continue;
                }
                let topic = text(frame, body_at).expect("the relay writes whole packets");
                let mut payload_at = body_at + 2 + topic.len();
                if frame[0] >> 1 & 3 > 0 {
                    acknowledgements.extend_from_slice(&[PUBACK << 4, 2]);
                    acknowledgements.extend_from_slice(&frame[payload_at..payload_at + 2]);
                    payload_at += 2;
                }
                let publisher =
                    frame[payload_at..].first_chunk().expect("the payload is longer than a number");
                self.delivered.set(self.delivered.get() + 1);
                self.came(u32::from_be_bytes(*publisher) as usize);
            }
            bytes.drain(..at);
            if let Some(output) = &mut output {
                output.write_all(&acknowledgements).await.expect("the relay keeps its connections");
            }
            acknowledgements.clear();
        }
    }

    fn came(&self, publisher: usize) {
        let due = &self.due[publisher];
        due.set(due.get().checked_sub(1).expect("nothing comes twice"));
        if due.get() == 0 {
            self.arrived[publisher].notify_one();
        }
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, CONNECT << 4, b"\0\x04MQTT\x04\x02\0\0\0\0", 4).await?;
    Ok(stream)
}

/// Sends a packet and takes the answer, of a length known beforehand.
async fn exchange(stream: &mut TcpStream, first: u8, body: &[u8], answer_bytes: usize) -> io::Result<()> {
    let mut packet = Vec::new();
    put_packet(&mut packet, first, body);
    stream.write_all(&packet).await?;
    stream.read_exact(&mut vec![0; answer_bytes]).await?;
    Ok(())
}

/// Linux counts CPU in hundredths of a second, whatever its own tick is.
const TICK_MICROSECONDS: f64 = 10_000.0;

/// User and system time of all threads of a process.
fn cpu_ticks(pid: u32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program may hold anything, its closing bracket is the last one.
    let (_, fields) = stat.rsplit_once(')').ok_or("a process's stat has no name")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut time = || Ok::<u64, Failure>(times.next().ok_or("a process's stat is short")?.parse()?);
    Ok(time()? + time()?)
}
