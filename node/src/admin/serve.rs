//! Takes the connections of the API. There are places for so many; when all are taken, one that has shown no key gives way
//! to the next: of the address that has most of them, whoever does not take its answer, or else the oldest that is not
//! being answered. So health answers, however many strangers sit there and say nothing or hear nothing: who asks from an
//! address of its own is never the one of many. Of their address, it is displaced only if enough others come between its
//! connection and its question.

use actix_http::HttpService;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory as _, ServiceFactoryExt as _, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::http::ConnectionType;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, web};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::line::{Allowance, Asker, Line, closed};
use super::{Shared, configure, key, portions};
use crate::listen::{LogLimit, Origin, next_connection};

/// Of the places, one part is kept from those with a key: whoever asks for health has none.
const NAMELESS_PART: usize = 8;

/// Bodies of the greatest length that are read at a time: what is longer than a little waits in memory until all of it is
/// there.
const BODIES: usize = 16;
const SHORT_BODY: usize = 4 << 10;

/// Connections that are taken before those who came are heard: half of what strangers have at least.
fn of_a_burst(connections: usize) -> usize {
    (connections / NAMELESS_PART / 2).max(1)
}

const SHUTDOWN: Duration = Duration::from_secs(2);

/// Everybody who is connected, the oldest first.
pub(super) struct Places {
    limit: usize,
    allowance: Allowance,
    open: RefCell<(u64, BTreeMap<u64, Rc<Asker>>)>,
}

impl Places {
    fn new(limit: usize, allowance: Allowance) -> Rc<Self> {
        Rc::new(Self { limit, allowance, open: RefCell::default() })
    }

    /// A place for a new connection, if need be that of somebody who gives way.
    fn take(self: &Rc<Self>, address: IpAddr) -> Option<Place> {
        let (next, open) = &mut *self.open.borrow_mut();
        if open.len() >= self.limit {
            let Some(asker) = who_gives_way(open).and_then(|number| open.remove(&number)) else {
                closed("full");
                return None;
            };
            closed("displaced");
            asker.displace();
        }
        *next += 1;
        let asker = Rc::new(Asker::new(address, self.allowance));
        open.insert(*next, Rc::clone(&asker));
        Some(Place { places: Rc::clone(self), number: *next, asker })
    }

    fn is_empty(&self) -> bool {
        self.open.borrow().1.is_empty()
    }

    /// Whether a body of so many bytes may be read beside those that are being read.
    pub(super) fn has_room_for_body(&self, bytes: usize) -> bool {
        let most = self.allowance.body_bytes;
        let bytes = bytes.min(most);
        let others: usize = self.open.borrow().1.values().map(|asker| asker.body_bytes()).sum();
        bytes <= SHORT_BODY || others + bytes <= BODIES * most
    }

    /// Whether one more may have the key.
    pub(super) fn has_room_for_key(&self) -> bool {
        let keyed = self.open.borrow().1.values().filter(|asker| asker.has_key()).count();
        keyed < self.limit - self.limit.div_ceil(NAMELESS_PART)
    }
}

/// Of the address that has most of those who can give way, whoever does not take its answer, or else the oldest: an
/// address that comes with many connections displaces its own.
fn who_gives_way(open: &BTreeMap<u64, Rc<Asker>>) -> Option<u64> {
    let mut found: HashMap<Origin, (usize, bool, u64)> = HashMap::new();
    for (number, asker) in open.iter().filter(|(_, asker)| asker.gives_way()) {
        let first = (0, asker.stands_still(), *number);
        let (count, is_still, chosen) = found.entry(Origin::of(asker.address)).or_insert(first);
        *count += 1;
        if asker.stands_still() && !*is_still {
            (*is_still, *chosen) = (true, *number);
        }
    }
    let most =
        found.into_values().max_by_key(|(count, is_still, number)| (*count, *is_still, Reverse(*number)));
    most.map(|(_, _, number)| number)
}

struct Place {
    places: Rc<Places>,
    number: u64,
    asker: Rc<Asker>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.borrow_mut().1.remove(&self.number);
    }
}

/// What a request can find out about its connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub asker: Rc<Asker>,
    pub places: Rc<Places>,
}

/// What is refused in front of the handlers is the last thing on its connection.
fn refusal(error: actix_web::Error) -> HttpResponse {
    let mut response = error.error_response();
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

/// Serves until `stop` says so, and then finishes what was asked. Says by `started` whether it has begun.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    state: web::Data<Shared>,
    mut stop: watch::Receiver<bool>,
    started: impl FnOnce(io::Result<()>),
) {
    let options = &state.options;
    let allowance = Allowance {
        head_bytes: options.head_bytes,
        head_time: options.head_timeout,
        body_bytes: super::body_limit(&state.state.limits) + options.head_bytes,
        body_time: options.body_timeout,
    };
    let places = Places::new(options.connections, allowance);
    let app = App::new().configure(configure(state.clone())).wrap(from_fn(key::guard));
    let app = app.into_factory().map_err(refusal);
    let (of_connection, stopping) = (Rc::clone(&places), stop.clone());
    let service = HttpService::build()
        .client_request_timeout(options.head_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(super::KEEP_ALIVE)
        .h1_write_buffer_size(portions::BYTES)
        .graceful_shutdown_signal(move || {
            let mut stop = stopping.clone();
            async move {
                let _ = stop.wait_for(|stop| *stop).await;
            }
        })
        .on_connect_ext(move |line: &Line, about| {
            let places = Rc::clone(&of_connection);
            about.insert(Connection { asker: Rc::clone(&line.asker), places });
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let service = service.new_service(()).await.map_err(|()| io::Error::other("its service cannot be made"));
    let listening = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let (service, listener) = match (service, listening) {
        (Ok(service), Ok(listener)) => (Rc::new(service), listener),
        (Err(error), _) | (_, Err(error)) => return started(Err(error)),
    };
    started(Ok(()));

    let (log, unread) = (LogLimit::default(), Rc::new(LogLimit::default()));
    for taken in 0_usize.. {
        // Whoever came is heard before others can displace it.
        if taken % of_a_burst(options.connections) == 0 {
            tokio::task::yield_now().await;
        }
        let (stream, address) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            next = next_connection(&listener, "api", &log) => next,
        };
        let Some(place) = places.take(address.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        let line = Line::new(stream, Rc::clone(&place.asker), Rc::clone(&unread));
        let serving = service.call((line, Some(address)));
        actix_web::rt::spawn(async move {
            tokio::select! {
                ended = serving => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "a connection of the api ended");
                    }
                }
                () = place.asker.displaced() => {}
            }
        });
    }
    drop(listener);
    let all_gone = async {
        while !places.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(SHUTDOWN, all_gone).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_with_many_displaces_its_own() {
        let second = Duration::from_secs(1);
        let allowance = Allowance { head_bytes: 1, head_time: second, body_bytes: 1, body_time: second };
        let places = Places::new(5, allowance);
        let taken: Vec<Place> =
            [1, 2, 2, 2, 3].iter().filter_map(|last| places.take(IpAddr::from([10, 0, 0, *last]))).collect();
        assert_eq!(taken.len(), 5);
        let who = || who_gives_way(&places.open.borrow().1);
        assert_eq!(who(), Some(2), "the oldest of the address that has most");
        taken[1].asker.asks(true, 0);
        taken[2].asker.asks(false, 0);
        assert_eq!(who(), Some(1), "all have one, and those with a key or an answer to come stay");
    }
}
