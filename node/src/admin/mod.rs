//! The API for operators: health, metrics, state. One worker on a thread of its own, so that a slow scrape never
//! takes time from a shard, and a busy shard never makes the node look dead.

mod access;
mod ask;
mod bans;
mod clients;
mod fleet;
mod head;
mod health;
pub mod key;
mod lately;
mod line;
mod liveness;
mod node;
mod openapi;
mod page;
mod portions;
mod problem;
mod publish;
mod readiness;
mod retained;
mod serve;
mod status;
mod subscriptions;
pub mod time;
mod topics;
mod users;

pub use access::{Draft, Preview};
pub use ask::Shards;
pub use bans::Added;
pub use clients::{Client, version};
pub use fleet::{Member, Token};
pub use key::ApiKey;
pub use liveness::Liveness;
pub use node::{Setting, Slot};
pub use page::Page;
pub use problem::Problem;
pub use readiness::{Readiness, Reason};
pub use retained::{Retained, Whole};
pub use status::{ListenerState, NodeState, Source, Status, Stored};
pub use subscriptions::Subscription;
pub use topics::{Topic, Way};
pub use users::Holding;

use crate::config::{ApiOptions, LimitsOptions};
use crate::observe::metrics::Recorder;
use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use socket2::SockRef;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// What the API answers from.
#[derive(Clone)]
pub struct State {
    pub readiness: Readiness,
    pub liveness: Liveness,
    pub source: Arc<dyn Source>,
    pub recorder: Recorder,
    pub shards: Shards,
    pub bans: Arc<crate::auth::bans::Book>,
    /// The fleet, if the node is of one.
    pub peers: Option<crate::peer::Peers>,
    pub key: ApiKey,
    pub limits: LimitsOptions,
    /// The configuration, without secrets.
    pub settings: Arc<[Setting]>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was started.
    #[error("the api cannot listen on {addr} (see --api, or api.addr)")]
    Listen { addr: SocketAddr, source: io::Error },
    /// The address is free again.
    #[error("the api could not be started")]
    Start(#[source] io::Error),
}

/// The running API. Dropping it leaves it running; `stop` ends it.
pub struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

const BACKLOG_UPKEEP: Duration = Duration::from_secs(5);
/// Connections that wait to be taken. Where more come at once, the kernel lets whoever asks for health try again after a
/// second.
const WAITING_LIMIT: i32 = 1024;
/// Bytes in each direction that the kernel holds for a connection; left to itself it takes megabytes of answers that nobody
/// reads. Enough for a megabyte a second over a round trip of 50 ms.
const SOCKET_BYTES: usize = 64 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Binds at once, so that a taken address is an error of the start, and serves from a thread of its own.
pub fn start(options: ApiOptions, state: State) -> Result<Server, Error> {
    let addr = options.addr;
    let listen = |source| Error::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(listen)?;
    // Whoever is accepted has the same.
    let socket = SockRef::from(&listener);
    socket.listen(WAITING_LIMIT).map_err(listen)?;
    socket.set_send_buffer_size(SOCKET_BYTES).map_err(listen)?;
    socket.set_recv_buffer_size(SOCKET_BYTES).map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let (stop, stopping) = watch::channel(false);
    let (started, outcome) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("convoy-api".to_owned())
        .spawn(move || run(listener, options, state, stopping, &started))
        .map_err(Error::Start)?;
    let died = || Err(io::Error::other("its thread ended at once"));
    outcome.recv().unwrap_or_else(|_| died()).map_err(Error::Start)?;
    Ok(Server { addr, stop, thread })
}

impl Server {
    /// Where it listens, with the port the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers what was already asked, then ends; returns when it has.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the api ended by a panic");
        }
    }
}

fn run(
    listener: TcpListener,
    options: ApiOptions,
    state: State,
    stop: watch::Receiver<bool>,
    started: &mpsc::SyncSender<io::Result<()>>,
) {
    let upkeep = state.recorder.clone();
    let state = web::Data::new(Shared {
        state,
        options,
        started_at: Instant::now(),
        metrics: lately::Lately::default(),
    });
    actix_web::rt::System::new().block_on(async move {
        actix_web::rt::spawn(async move {
            let mut interval = actix_web::rt::time::interval(BACKLOG_UPKEEP);
            loop {
                interval.tick().await;
                upkeep.upkeep();
            }
        });
        serve::serve(listener, state, stop, |outcome| drop(started.send(outcome))).await;
    });
}

struct Shared {
    state: State,
    options: ApiOptions,
    started_at: Instant,
    metrics: lately::Lately,
}

/// Defines what is served and lists it: [`SERVED`] is compared with the document of the API.
macro_rules! served {
    ($($method:ident $path:literal => $handler:path,)+) => {
        /// Method and path of everything that is served.
        #[cfg(test)]
        const SERVED: &[(&str, &str)] = &[$((stringify!($method), $path),)+];

        fn routes(config: &mut web::ServiceConfig) {
            $(config.route(&template($path), web::$method().to($handler));)+
        }
    };
}

served! {
    get "/livez" => health::livez,
    get "/readyz" => health::readyz,
    get "/metrics" => health::metrics,
    get "/status" => health::open_status,
    get "/api/v1/status" => health::status,
    get "/api/v1/openapi.json" => openapi::openapi,
    get "/api/v1/clients" => clients::list,
    get "/api/v1/clients/{client_id}" => clients::one,
    delete "/api/v1/clients/{client_id}" => clients::kick,
    get "/api/v1/clients/{client_id}/subscriptions" => subscriptions::of_client,
    post "/api/v1/access/preview" => access::preview,
    get "/api/v1/bans" => bans::list,
    post "/api/v1/bans" => bans::add,
    delete "/api/v1/bans/{id}" => bans::remove,
    get "/api/v1/users/{user}/stored" => users::stored,
    get "/api/v1/anonymous/stored" => users::of_nobody,
    get "/api/v1/subscriptions" => subscriptions::list,
    get "/api/v1/topics" => topics::list,
    get "/api/v1/topics/match" => topics::way,
    get "/api/v1/retained" => retained::list,
    get "/api/v1/retained/{topic}" => retained::one,
    delete "/api/v1/retained/{topic}" => retained::delete,
    post "/api/v1/publish" => publish::publish,
    get "/api/v1/cluster" => fleet::members,
    post "/api/v1/tokens" => fleet::token,
    get "/api/v1/listeners" => node::listeners,
    get "/api/v1/slots" => node::slots,
    get "/api/v1/config" => node::config,
}

/// A Topic Name is the rest of its path, slashes and all.
fn template(path: &str) -> String {
    path.replace("{topic}", "{topic:.+}")
}

/// Bytes of a body: a message in base64 with everything around it.
fn body_limit(limits: &LimitsOptions) -> usize {
    limits.packet_bytes as usize * 4 / 3 + (64 << 10)
}

/// Everything in front of the handlers: the key, limits, and errors in one form.
fn configure(state: web::Data<Shared>) -> impl FnOnce(&mut web::ServiceConfig) {
    let json = web::JsonConfig::default().limit(body_limit(&state.state.limits)).error_handler(|error, _| {
        let status = match &error {
            JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            JsonPayloadError::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, format!("the body: {error}")).into()
    });
    let query =
        web::QueryConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into());
    let path =
        web::PathConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into());
    move |config| {
        config.app_data(state).app_data(json).app_data(query).app_data(path);
        routes(config);
        config.default_service(web::to(nothing));
    }
}

async fn nothing(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (method, path) = (request.method(), request.path());
    let detail = format!("nothing is served by {method} {path}; /api/v1/openapi.json names what is");
    Err(Problem::not_found(detail))
}

#[cfg(test)]
mod tests;
