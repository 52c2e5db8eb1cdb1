//! The API for operators: health, metrics, state. One worker on a thread of its own, so that a slow scrape never
//! takes time from a shard, and a busy shard never makes the node look dead.

mod readiness;
mod status;

pub use readiness::{Readiness, Reason};
pub use status::{ListenerState, NodeState, Source, Status};

use crate::observe::metrics::Recorder;
use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, http::header, web};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// What the API answers from.
#[derive(Clone)]
pub struct State {
    pub readiness: Readiness,
    pub source: Arc<dyn Source>,
    pub recorder: Recorder,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was started.
    #[error("the api cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    /// The address is free again.
    #[error("the api could not be started")]
    Start(#[source] io::Error),
}

/// The running API. Dropping it leaves it running; `stop` ends it.
pub struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    thread: thread::JoinHandle<()>,
}

const BACKLOG_UPKEEP: Duration = Duration::from_secs(5);
const SHUTDOWN_SECONDS: u64 = 2;

/// Binds at once, so that a taken address is an error of the start, and serves from a thread of its own.
pub fn start(addr: SocketAddr, state: State) -> Result<Server, Error> {
    let listen = |source| Error::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let (started, handle) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("convoy-api".to_owned())
        .spawn(move || serve(listener, state, &started))
        .map_err(Error::Start)?;
    let died = || Err(io::Error::other("its thread ended at once"));
    let handle = handle.recv().unwrap_or_else(|_| died()).map_err(Error::Start)?;
    Ok(Server { addr, handle, thread })
}

impl Server {
    /// Where it listens, with the port the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers what was already asked, then ends; returns when it has.
    pub fn stop(self) {
        // The order is given by the call; the future only reports that it was carried out, as `join` does.
        drop(self.handle.stop(true));
        if self.thread.join().is_err() {
            tracing::error!("the api ended by a panic");
        }
    }
}

fn serve(listener: TcpListener, state: State, started: &mpsc::SyncSender<io::Result<ServerHandle>>) {
    let state = web::Data::new(Shared { state, started_at: Instant::now() });
    let upkeep = state.state.recorder.clone();
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || App::new().app_data(state.clone()).configure(routes))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(SHUTDOWN_SECONDS)
            .listen(listener);
        let server = match server {
            Ok(server) => server.run(),
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(server.handle()));
        actix_web::rt::spawn(async move {
            let mut interval = actix_web::rt::time::interval(BACKLOG_UPKEEP);
            loop {
                interval.tick().await;
                upkeep.upkeep();
            }
        });
        if let Err(error) = server.await {
            tracing::error!(%error, "the api ended");
        }
    });
}

struct Shared {
    state: State,
    started_at: Instant,
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz))
        .route("/metrics", web::get().to(metrics))
        .route("/status", web::get().to(status))
        .route("/api/v1/openapi.json", web::get().to(openapi));
}

/// The process answers. It says nothing about serving: that is `/readyz`.
async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "live": true }))
}

async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let reasons = shared.state.readiness.reasons();
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    if reasons.is_empty() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(shared.state.recorder.render())
}

async fn status(shared: web::Data<Shared>) -> HttpResponse {
    let reasons = shared.state.readiness.reasons();
    HttpResponse::Ok().json(Status::new(shared.state.source.state(), shared.started_at.elapsed(), reasons))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(include_str!("openapi.json"))
}

#[cfg(test)]
mod tests;
