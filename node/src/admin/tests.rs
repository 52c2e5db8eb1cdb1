use super::*;
use crate::auth::bans::Book;
use crate::ctl;
use actix_web::middleware::from_fn;
use actix_web::{App, http::StatusCode, test as http};
use convoy_actors::query::Layout;
use convoy_membership::Partitioning;
use std::collections::BTreeSet;
use std::path::Path;

struct Fixed;

impl Source for Fixed {
    fn state(&self) -> NodeState {
        NodeState {
            node: "n1".to_owned(),
            node_id: "00000000000000ab".to_owned(),
            zone: "z1".to_owned(),
            data: "/data".to_owned(),
            listeners: vec![ListenerState {
                name: "vehicles".to_owned(),
                kind: "mqtt".to_owned(),
                addr: ([127, 0, 0, 1], 1883).into(),
                clients: 3,
            }],
            slots: 64,
            slots_led: 64,
            connections: 3,
            ..NodeState::default()
        }
    }
}

const KEY: &str = "0123456789abcdef";

/// There are no shards: what asks one says so.
fn state(readiness: Readiness) -> State {
    let layout = Layout { slots: 1, shards: 1, partitioning: Partitioning::default() };
    State {
        readiness,
        liveness: Liveness::default(),
        source: Arc::new(Fixed),
        recorder: Recorder::detached(),
        shards: Shards::new(layout, Arc::new([])),
        bans: Arc::new(Book::open(Path::new("/nonexistent"), Vec::new(), Arc::new([])).unwrap()),
        peers: None,
        key: ApiKey::new(KEY, true),
        limits: LimitsOptions::default(),
        settings: Arc::new([]),
    }
}

fn options(addr: SocketAddr) -> ApiOptions {
    ApiOptions { addr, ..ApiOptions::default() }
}

async fn ask(state: State, request: http::TestRequest) -> (StatusCode, serde_json::Value) {
    let options = options(([127, 0, 0, 1], 0).into());
    let shared = web::Data::new(Shared {
        state,
        options,
        started_at: Instant::now(),
        metrics: lately::Lately::default(),
    });
    let app = App::new().configure(configure(shared)).wrap(from_fn(key::guard));
    let app = http::init_service(app).await;
    let response = match http::try_call_service(&app, request.to_request()).await {
        Ok(response) => response.map_into_boxed_body().into_parts().1,
        Err(error) => error.error_response(),
    };
    let status = response.status();
    let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// With the key.
async fn get(state: State, path: &str) -> (StatusCode, serde_json::Value) {
    let request = http::TestRequest::get().uri(path);
    ask(state, request.insert_header(("Authorization", format!("Bearer {KEY}")))).await
}

#[actix_web::test]
async fn a_node_that_waits_says_what_for() {
    let readiness = Readiness::waiting_for(&["storage"]);
    let (status, body) = get(state(readiness.clone()), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let reasons = serde_json::json!([{ "condition": "storage", "reason": "starting" }]);
    assert_eq!(body, serde_json::json!({ "ready": false, "reasons": reasons }));
    // Alive all the same: a restart would not help.
    assert_eq!(get(state(readiness.clone()), "/livez").await.0, StatusCode::OK);

    readiness.met("storage");
    let (status, body) = get(state(readiness), "/readyz").await;
    assert_eq!((status, body["ready"].as_bool()), (StatusCode::OK, Some(true)));
}

#[actix_web::test]
async fn the_document_names_what_is_served_and_nothing_else() {
    let (_, document) = get(state(Readiness::default()), "/api/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let served: BTreeSet<(String, String)> =
        SERVED.iter().map(|(method, path)| (method.to_string(), path.to_string())).collect();
    assert_eq!(described, served);
}

#[actix_web::test]
async fn the_document_names_every_field_of_the_status() {
    let (_, document) = get(state(Readiness::default()), "/api/v1/openapi.json").await;
    let (_, status) = get(state(Readiness::default()), "/status").await;
    let schema = &document["components"]["schemas"]["Status"];
    // What is flattened stands beside what is not.
    let parts = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    let mut described = BTreeSet::new();
    for part in parts {
        let part = match part["$ref"].as_str() {
            Some(name) => document["components"]["schemas"][name.rsplit('/').next().unwrap()].clone(),
            None => part,
        };
        described.extend(part["properties"].as_object().unwrap().keys().cloned());
    }
    let answered: BTreeSet<String> = status.as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, answered);
}

#[actix_web::test]
async fn only_health_is_told_without_the_key_and_figures_where_that_was_said() {
    let open = |figures| State { key: ApiKey::new(KEY, figures), ..state(Readiness::default()) };
    for (path, closed, figures) in [
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
        ("/metrics", 401, 200),
        ("/status", 401, 200),
        ("/api/v1/status", 401, 401),
        ("/api/v1/openapi.json", 401, 401),
        ("/api/v1/clients", 401, 401),
        ("/nothing", 401, 401),
    ] {
        let request = || http::TestRequest::get().uri(path);
        assert_eq!(ask(open(false), request()).await.0.as_u16(), closed, "{path}");
        assert_eq!(ask(open(true), request()).await.0.as_u16(), figures, "{path}");
        for wrong in ["Bearer 0123456789abcdeF", "Bearer", "Bearer ", "Basic 0123456789abcdef", KEY] {
            let wrong = request().insert_header(("Authorization", wrong));
            assert_eq!(ask(open(false), wrong).await.0.as_u16(), closed, "{path}");
        }
    }
    let (status, problem) = ask(open(true), http::TestRequest::get().uri("/api/v1/slots")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(problem["detail"].as_str().unwrap().contains("api.key"), "{problem}");
}

#[actix_web::test]
async fn what_is_wrong_with_a_request_is_said() {
    for (path, said) in [
        ("/api/v1/clients?limit=0", "from 1 to 1000"),
        ("/api/v1/clients?cursor=abc", "cursor"),
        ("/api/v1/clients?colour=red", "colour"),
        ("/api/v1/clients?connected=perhaps", "`true` or `false`"),
        ("/api/v1/subscriptions?topic=a/%23", "no Topic Name"),
        ("/api/v1/retained?filter=a%23", "no Topic Filter"),
        ("/api/v1/topics/match", "topic"),
    ] {
        let (status, problem) = get(state(Readiness::default()), path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path}: {problem}");
    }
    for (body, status, said) in [
        (r#"{"topic":"a","qos":2}"#, 400, "0 or 1"),
        (r#"{"topic":"a/+"}"#, 400, "no Topic Name"),
        (r#"{"topic":"$SYS/x"}"#, 400, "own"),
        (r#"{"topic":"a","payload":"x","payload_base64":"eA=="}"#, 400, "not both"),
        (r#"{"topic":"a","payload_base64":"%"}"#, 400, "base64"),
        (r#"{"topic":"a","colour":"red"}"#, 400, "colour"),
        ("{", 400, "body"),
    ] {
        let request = http::TestRequest::post().uri("/api/v1/publish").set_payload(body);
        let request = request.insert_header(("Content-Type", "application/json"));
        let request = request.insert_header(("Authorization", format!("Bearer {KEY}")));
        let (found, problem) = ask(state(Readiness::default()), request).await;
        assert_eq!(found.as_u16(), status, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{body}: {problem}");
    }
    let large = format!(r#"{{"topic":"a","payload":"{}"}}"#, "x".repeat(1 << 20));
    let request = http::TestRequest::post().uri("/api/v1/publish").set_payload(large);
    let request = request.insert_header(("Content-Type", "application/json"));
    let request = request.insert_header(("Authorization", format!("Bearer {KEY}")));
    assert_eq!(ask(state(Readiness::default()), request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn the_served_status_is_what_ctl_reads_and_stop_frees_the_address() {
    let server = start(options(([127, 0, 0, 1], 0).into()), state(Readiness::default())).unwrap();
    let addr = server.addr();
    let body = ctl::Api { addr, key: None }.get("/status").unwrap();
    let status: Status = serde_json::from_slice(&body).unwrap();
    assert_eq!(status.state, Fixed.state());
    assert!(status.ready);
    assert!(status.to_string().contains("slots       64 of 64 led here\n"), "{status}");

    let taken = start(options(addr), state(Readiness::default())).err().expect("the address is taken");
    assert!(taken.to_string().contains(&addr.to_string()), "{taken}");
    server.stop();
    start(options(addr), state(Readiness::default())).unwrap().stop();
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let server = start(options(([127, 0, 0, 1], 0).into()), state(Readiness::default())).unwrap();
    let api = |key: Option<&str>| ctl::Api { addr: server.addr(), key: key.map(str::to_owned) };
    let error = api(Some(KEY)).get("/nothing").unwrap_err();
    assert!(error.to_string().contains("GET /nothing"), "{error}");
    let error = api(Some("wrong")).get("/nothing").unwrap_err();
    assert!(matches!(error, ctl::Error::Key { .. }), "{error}");
    let error = api(None).get("/nothing").unwrap_err();
    assert!(matches!(error, ctl::Error::NoKey { .. }), "{error}");
    server.stop();
}

/// Sends all of `requests` and reads until the other side has said all it has to say.
fn exchange(addr: SocketAddr, requests: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    String::from_utf8(answers).unwrap()
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let server = start(options(([127, 0, 0, 1], 0).into()), state(Readiness::default())).unwrap();
    let live = "GET /livez HTTP/1.1\r\nHost: here\r\n\r\n";
    let key = format!("Host: here\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n");
    let publish =
        |length: &str, body: &str| format!("POST /api/v1/publish HTTP/1.1\r\n{key}{length}\r\n{body}");
    let count = |answers: &str, what: &str| answers.matches(what).count();

    let answers = exchange(server.addr(), &live.repeat(100));
    assert_eq!(count(&answers, "HTTP/1.1 200"), 100, "{answers}");

    // What follows a body is the next request.
    let bodies = [publish("Content-Length: 16\r\n", r#"{"topic":"a/+"} "#), live.to_owned()].concat();
    let answers = exchange(server.addr(), &bodies);
    assert_eq!((count(&answers, "no Topic Name"), count(&answers, "{\"live\":true}")), (1, 1), "{answers}");

    // Of chunks the server alone sees the end; what came along is answered too, and nothing that comes later.
    let chunks = "10\r\n{\"topic\":\"a/+\"} \r\n0\r\n\r\n";
    let bodies = [publish("Transfer-Encoding: chunked\r\n", chunks), live.repeat(1000)].concat();
    let answers = exchange(server.addr(), &bodies).to_lowercase();
    let (answered, others) = (count(&answers, "no topic name"), count(&answers, "{\"live\":true}"));
    assert!(answered == 1 && others < 200 && answers.contains("connection: close"), "{answers}");

    let refused = exchange(server.addr(), &"GET /api/v1/slots HTTP/1.1\r\nHost: here\r\n\r\n".repeat(9));
    assert_eq!(count(&refused, "HTTP/1.1 401"), 1, "{refused}");
    server.stop();
}

#[test]
fn answers_that_nobody_reads_are_not_made_and_give_way_to_health() {
    use std::io::Write;
    let places = 16;
    let options = ApiOptions { connections: places, ..options(([127, 0, 0, 1], 0).into()) };
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let source = Arc::new(Counting(Arc::clone(&made)));
    let server = start(options, State { source, ..state(Readiness::default()) }).unwrap();
    let requests = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4000);
    let mut unread = Vec::new();
    for _ in 0..places {
        let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(requests.as_bytes());
        unread.push(stream);
    }
    // All places are taken by those who do not read; health answers.
    for _ in 0..10 {
        let began = Instant::now();
        let answer = exchange(server.addr(), "GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    // Of an answer of 256 KiB the kernel holds less than one at either end.
    let most = places * 8;
    assert!(made.load(std::sync::atomic::Ordering::Relaxed) < most, "{made:?} answers, more than {most}");
    server.stop();
}

/// Counts how often it was asked, and has a great deal to say.
struct Counting(Arc<std::sync::atomic::AtomicUsize>);

impl Source for Counting {
    fn state(&self) -> NodeState {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        NodeState { data: "x".repeat(256 << 10), ..NodeState::default() }
    }
}
