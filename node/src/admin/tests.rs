use super::*;
use crate::ctl;
use actix_web::{http::StatusCode, test as http};

struct Fixed;

impl Source for Fixed {
    fn state(&self) -> NodeState {
        NodeState {
            node: "n1".to_owned(),
            node_id: "00000000000000ab".to_owned(),
            zone: "z1".to_owned(),
            data: "/data".to_owned(),
            listeners: vec![ListenerState { kind: "mqtt".to_owned(), addr: ([127, 0, 0, 1], 1883).into() }],
            slots: 64,
            slots_led: 64,
            connections: 3,
            ..NodeState::default()
        }
    }
}

fn state(readiness: Readiness) -> State {
    State { readiness, source: Arc::new(Fixed), recorder: Recorder::detached() }
}

async fn get(state: State, path: &str) -> (StatusCode, serde_json::Value) {
    let shared = web::Data::new(Shared { state, started_at: Instant::now() });
    let app = http::init_service(App::new().app_data(shared).configure(routes)).await;
    let response = http::call_service(&app, http::TestRequest::get().uri(path).to_request()).await;
    let status = response.status();
    let body = http::read_body(response).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
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
async fn the_document_names_every_path_and_every_field_of_the_status() {
    let (_, document) = get(state(Readiness::default()), "/api/v1/openapi.json").await;
    for path in document["paths"].as_object().unwrap().keys() {
        assert_eq!(get(state(Readiness::default()), path).await.0, StatusCode::OK, "{path}");
    }
    let (_, status) = get(state(Readiness::default()), "/status").await;
    let described = document["components"]["schemas"]["Status"]["properties"].as_object().unwrap();
    let mut described: Vec<_> = described.keys().collect();
    let mut answered: Vec<_> = status.as_object().unwrap().keys().collect();
    described.sort();
    answered.sort();
    assert_eq!(described, answered);
}

#[test]
fn the_served_status_is_what_ctl_reads_and_stop_frees_the_address() {
    let server = start(([127, 0, 0, 1], 0).into(), state(Readiness::default())).unwrap();
    let addr = server.addr();
    let body = ctl::get(addr, "/status").unwrap();
    let status: Status = serde_json::from_slice(&body).unwrap();
    assert_eq!(status.state, Fixed.state());
    assert!(status.ready);
    assert!(status.to_string().contains("slots       64 of 64 led here\n"), "{status}");

    let taken = start(addr, state(Readiness::default())).err().expect("the address is taken");
    assert!(taken.to_string().contains(&addr.to_string()), "{taken}");
    server.stop();
    start(addr, state(Readiness::default())).unwrap().stop();
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let server = start(([127, 0, 0, 1], 0).into(), state(Readiness::default())).unwrap();
    let error = ctl::get(server.addr(), "/nothing").unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    server.stop();
}
