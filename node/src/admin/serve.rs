//! Takes the connections of the API. There are places for so many; when all are taken, whoever has shown no key and is not
//! being answered gives way to the next one, the oldest first. So health answers, however many strangers sit there and
//! say nothing: a question comes with its connection and is answered before enough others have come.

use actix_http::HttpService;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory as _, ServiceFactoryExt as _, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::line::{Allowance, Asker, Line, closed};
use super::{Shared, configure, key};
use crate::listen::{LogLimit, next_connection};

/// Of the places, one part is kept from those with a key: whoever asks for health has none.
const NAMELESS_PART: usize = 8;

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
    fn take(self: &Rc<Self>) -> Option<Place> {
        let (next, open) = &mut *self.open.borrow_mut();
        if open.len() >= self.limit {
            let found = open.iter().find(|(_, asker)| asker.gives_way()).map(|(number, _)| *number);
            let Some(asker) = found.and_then(|number| open.remove(&number)) else {
                closed("full");
                return None;
            };
            closed("displaced");
            asker.displace();
        }
        *next += 1;
        let asker = Rc::new(Asker::new(self.allowance));
        open.insert(*next, Rc::clone(&asker));
        Some(Place { places: Rc::clone(self), number: *next, asker })
    }

    fn is_empty(&self) -> bool {
        self.open.borrow().1.is_empty()
    }

    /// Whether one more may have the key.
    pub(super) fn has_room_for_key(&self) -> bool {
        let keyed = self.open.borrow().1.values().filter(|asker| asker.has_key()).count();
        keyed < self.limit - self.limit.div_ceil(NAMELESS_PART)
    }
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
    let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
    let (of_connection, stopping) = (Rc::clone(&places), stop.clone());
    let service = HttpService::build()
        .client_request_timeout(options.head_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(super::KEEP_ALIVE)
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

    let log = LogLimit::default();
    loop {
        let (stream, address) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            next = next_connection(&listener, "api", &log) => next,
        };
        let Some(place) = places.take() else { continue };
        let _ = stream.set_nodelay(true);
        let line = Line::new(stream, Rc::clone(&place.asker));
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
