//! The relay on tokio's work-stealing runtime.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tokio::net::TcpStream;

use super::connection::Connection;
use super::relay::{Message, Outbox, Own, Shape, Table};

type Shared = Arc<Mutex<Outbox>>;

#[derive(Clone)]
struct OnStealing(Arc<Table<Shared>>);

impl Own for Shared {
    fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        change(&mut self.lock().expect("nobody panics with an output in hand"))
    }
}

impl Shape for OnStealing {
    type Own = Shared;
    type Address = Shared;

    fn table(&self) -> &Table<Shared> {
        &self.0
    }

    fn deliver(&self, message: &Message<'_>, to: &[(Shared, u8)], wakes: &mut Vec<Waker>) {
        for (outbox, qos) in to {
            wakes.extend(outbox.with(|outbox| outbox.put(message, (*qos).min(message.qos))));
        }
    }

    fn delivered(&self) {}
}

pub fn stealing(cores: usize) -> io::Result<impl FnMut(StdStream, u64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_io().build()?;
    let shape = OnStealing(Arc::new(Table::new()));
    Ok(move |stream, number| {
        let _here = runtime.enter();
        let stream = TcpStream::from_std(stream).expect("a socket that was accepted can be watched");
        let own = Shared::default();
        runtime.spawn(Connection::new(shape.clone(), stream, number, Arc::clone(&own), own).run());
    })
}
