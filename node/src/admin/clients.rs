//! `/clients`: Sessions, connected or not, with what is known of their connections.

use actix_web::{HttpResponse, web};
use convoy_actors::query::{Answer, ConnectionEntry, Query, QueueEntry, SessionEntry};
use convoy_ids::SlotId;
use convoy_wire::ProtocolVersion;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::Shards;
use super::page::{Gathering, Page};
use super::time::rfc3339;
use super::{Problem, Shared};

const KIND: u8 = b'c';

/// Sessions looked at with one question, where few of them fit.
const LOOK: usize = 256;

/// A Client: its Session, and its connection while there is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Client {
    pub client_id: String,
    pub connected: bool,
    /// User name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address and port of the Client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// `mqtt`, `mqtts`, `ws` or `wss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// `3.1`, `3.1.1` or `5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Seconds; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_start: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_packet: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_since: Option<String>,
    pub session_created: String,
    /// Session Expiry Interval in seconds; 4294967295 for a Session that does not expire.
    pub session_expiry: u32,
    pub subscriptions: u32,
    pub queue_messages: u64,
    pub queue_bytes: u64,
    /// Of the queue, sent and not acknowledged.
    pub inflight: u64,
    /// PUBLISH packets of this connection, and all its bytes.
    pub messages_received: u64,
    pub messages_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// A Will Message is kept for it.
    pub will: bool,
    pub slot: u16,
    /// The shard that has its connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u16>,
    pub node: String,
}

/// What `/clients` lists.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Beginning of the Client Identifier.
    client_id: Option<String>,
    user: Option<String>,
    connected: Option<bool>,
    /// Address of the Client, with its port or without.
    address: Option<String>,
    /// Name of the listener.
    listener: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, up to 1000.
    limit: Option<usize>,
}

impl Filter {
    /// Whether only who is connected can fit.
    fn is_of_connections(&self) -> bool {
        self.address.is_some() || self.listener.is_some()
    }

    fn fits(&self, client: &Client) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let address = self.address.as_ref().is_none_or(|wanted| {
            let found = client.address.as_ref();
            found.is_some_and(|found| found == wanted || host_of(found) == wanted)
        });
        address
            && is(&self.user, &client.user)
            && is(&self.listener, &client.listener)
            && self.connected.is_none_or(|wanted| wanted == client.connected)
    }
}

/// An address without its port.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}

/// Clients in the order of their slots and Client Identifiers
#[utoipa::path(
    get, path = "/api/v1/clients", tag = "clients", params(Filter),
    responses((status = 200, body = Page<Client>), (status = 400, body = Problem))
)]
pub(super) async fn list(
    shared: web::Data<Shared>,
    filter: web::Query<Filter>,
) -> Result<web::Json<Page<Client>>, Problem> {
    let shards = &shared.state.shards;
    let mut page = Gathering::begin(KIND, filter.cursor.as_deref(), filter.limit, shards.slots())?;
    while let Some((place, room)) = page.ask() {
        let query = Query::Sessions {
            slot: SlotId(place.slot),
            prefix: filter.client_id.clone().unwrap_or_default(),
            after: place.text()?,
            connected: if filter.is_of_connections() { Some(true) } else { filter.connected },
            // Users and what only a connection knows are compared here: then more is looked at than there is room for.
            limit: if filter.is_of_connections() || filter.user.is_some() { room.max(LOOK) } else { room },
        };
        let answer = shards.ask(query, &format!("slot {}", place.slot)).await?;
        let Answer::Sessions { sessions, next } = answer else { return Err(Problem::out_of_place()) };
        let clients = join(&shared, sessions).await?;
        let mut fitting: Vec<_> = clients.into_iter().filter(|client| filter.fits(client)).collect();
        let next = match fitting.get(room.wrapping_sub(1)) {
            Some(last) if fitting.len() > room => Some(last.client_id.clone()),
            _ => next,
        };
        fitting.truncate(room);
        page.found(fitting, next.map(String::into_bytes));
    }
    Ok(web::Json(page.finish()))
}

/// One Client
#[utoipa::path(
    get, path = "/api/v1/clients/{client_id}", tag = "clients", params(("client_id" = String, Path)),
    responses((status = 200, body = Client), (status = 404, body = Problem))
)]
pub(super) async fn one(
    shared: web::Data<Shared>,
    client_id: web::Path<String>,
) -> Result<web::Json<Client>, Problem> {
    let client_id = client_id.into_inner();
    let subject = format!("Client {client_id}");
    let answer = shared.state.shards.ask(Query::Session { client_id }, &subject).await?;
    let Answer::Sessions { sessions, .. } = answer else { return Err(Problem::out_of_place()) };
    let client = join(&shared, sessions).await?.pop();
    client.map(web::Json).ok_or_else(|| Problem::not_found(format!("there is no {subject}")))
}

/// How a Client is to go.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Kick {
    /// Ends its Session too.
    #[serde(default)]
    session: bool,
}

/// Disconnects a Client with Administrative action, and may end its Session
#[utoipa::path(
    delete, path = "/api/v1/clients/{client_id}", tag = "clients", params(("client_id" = String, Path), Kick),
    responses(
        (status = 204, description = "Its connection is being closed; its Session has ended if that was asked for"),
        (status = 404, body = Problem), (status = 409, body = Problem)
    )
)]
pub(super) async fn kick(
    shared: web::Data<Shared>,
    client_id: web::Path<String>,
    how: web::Query<Kick>,
) -> Result<HttpResponse, Problem> {
    let client_id = client_id.into_inner();
    let subject = format!("Client {client_id}");
    let query = match how.session {
        true => Query::EndSession { client_id: client_id.clone() },
        false => Query::Kick { client_id: client_id.clone() },
    };
    shared.state.shards.ask(query, &subject).await?;
    tracing::info!(client_id, session = how.session, "a Client was disconnected by an operator");
    Ok(HttpResponse::NoContent().finish())
}

/// Adds to Sessions what their connections know, asking each shard once.
async fn join(shared: &Shared, sessions: Vec<SessionEntry>) -> Result<Vec<Client>, Problem> {
    let node = shared.state.source.state().node;
    let connections = connections(&shared.state.shards, &sessions).await?;
    let joined = sessions.into_iter().zip(connections);
    Ok(joined.map(|(session, connection)| client(session, connection, &node)).collect())
}

async fn connections(
    shards: &Shards,
    sessions: &[SessionEntry],
) -> Result<Vec<Option<ConnectionEntry>>, Problem> {
    let mut found = vec![None; sessions.len()];
    for shard in 0..shards.layout.shards {
        let (places, homes): (Vec<_>, Vec<_>) = sessions
            .iter()
            .enumerate()
            .filter_map(|(at, session)| Some((at, session.home.filter(|home| home.shard == shard)?)))
            .unzip();
        if homes.is_empty() {
            continue;
        }
        let answer = shards.ask(Query::Connections { shard, homes }, &format!("shard {shard}")).await?;
        let Answer::Connections(entries) = answer else { return Err(Problem::out_of_place()) };
        for (place, entry) in places.into_iter().zip(entries) {
            found[place] = entry;
        }
    }
    Ok(found)
}

fn client(session: SessionEntry, connection: Option<ConnectionEntry>, node: &str) -> Client {
    let queue = session.queue.or(connection.as_ref().and_then(|connection| connection.queue));
    let QueueEntry { messages, bytes, inflight } = queue.unwrap_or_default();
    let mut client = Client {
        client_id: session.client_id,
        connected: connection.is_some(),
        user: session.owner,
        disconnected_since: session.disconnected_at.map(rfc3339),
        session_created: rfc3339(session.created_at),
        session_expiry: session.expiry_seconds,
        subscriptions: session.subscriptions,
        queue_messages: messages,
        queue_bytes: bytes,
        inflight,
        will: session.has_will,
        slot: session.number.slot().0,
        node: node.to_owned(),
        ..Client::default()
    };
    if let Some(connection) = connection {
        let listener = &connection.peer.listener;
        client.user = connection.user.or(client.user);
        client.address = Some(connection.peer.address.to_string());
        client.listener = Some(listener.name.clone());
        client.transport = Some(listener.transport.to_string());
        client.protocol_version = Some(version(connection.version).to_owned());
        client.keep_alive = Some(connection.keep_alive_seconds);
        client.clean_start = Some(connection.clean_start);
        client.receive_maximum = Some(connection.receive_maximum);
        client.connected_since = Some(rfc3339(connection.connected_at));
        client.last_packet = Some(rfc3339(connection.last_packet_at));
        client.shard = session.home.map(|home| home.shard);
        let traffic = connection.traffic;
        (client.messages_received, client.messages_sent) = (traffic.messages_received, traffic.messages_sent);
        (client.bytes_received, client.bytes_sent) = (traffic.bytes_received, traffic.bytes_sent);
    }
    client
}

/// A version as people write it.
pub fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}
