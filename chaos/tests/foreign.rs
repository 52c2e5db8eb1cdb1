//! Proves: Clients that nobody of this house wrote get what MQTT promises, in every version that they speak. paho-mqtt and
//! gmqtt (Python), MQTT.js, and mosquitto's command line clients; and `convoy pub` and `convoy sub` against the same
//! expectations.

mod common;
#[path = "foreign/scripts.rs"]
mod scripts;
#[path = "foreign/tools.rs"]
mod tools;

use convoy_chaos::fault::skipped;
use convoy_chaos::fleet::Program;
use scripts::Library;
use tools::Tools;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31,
    V311,
    V5,
}

/// Where a Client of the story connects to.
pub struct Place {
    pub port: u16,
}

async fn library(test: &str, library: Library, version: Version) {
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    let place = Place { port: node.mqtt().port() };
    match scripts::tell(library, &place, version).await {
        Err(lacking) => skipped(test, &lacking),
        Ok(told) => told.unwrap_or_else(|failed| panic!("{failed}")),
    }
}

async fn mosquitto(test: &str, version: Version) {
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    match Tools::mosquitto(&Place { port: node.mqtt().port() }, version) {
        Err(lacking) => skipped(test, &lacking),
        Ok(tools) => tools::tell(&tools).await,
    }
}

async fn convoy(version: Version) {
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    // Another broker may stand in, to look at the suite itself.
    if let Program::Convoy(path) = node.program().clone() {
        tools::tell(&Tools::convoy(&path, &Place { port: node.mqtt().port() }, version)).await;
    }
}

/// A test for each row, named for what it proves.
macro_rules! table {
    ($($name:ident: $library:ident $version:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                library(stringify!($name), Library::$library, Version::$version).await;
            }
        )*
    };
}

table! {
    paho_3_1_gets_what_mqtt_promises: Paho V31;
    paho_3_1_1_gets_what_mqtt_promises: Paho V311;
    paho_5_0_gets_what_mqtt_promises: Paho V5;
    mqtt_js_3_1_gets_what_mqtt_promises: MqttJs V31;
    mqtt_js_3_1_1_gets_what_mqtt_promises: MqttJs V311;
    mqtt_js_5_0_gets_what_mqtt_promises: MqttJs V5;
    gmqtt_3_1_1_gets_what_mqtt_promises: Gmqtt V311;
    gmqtt_5_0_gets_what_mqtt_promises: Gmqtt V5;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_3_1_get_what_mqtt_promises() {
    mosquitto("mosquitto_s_clients_3_1_get_what_mqtt_promises", Version::V31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_3_1_1_get_what_mqtt_promises() {
    mosquitto("mosquitto_s_clients_3_1_1_get_what_mqtt_promises", Version::V311).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_s_clients_5_0_get_what_mqtt_promises() {
    mosquitto("mosquitto_s_clients_5_0_get_what_mqtt_promises", Version::V5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convoy_pub_and_sub_agree_in_3_1() {
    convoy(Version::V31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convoy_pub_and_sub_agree_in_3_1_1() {
    convoy(Version::V311).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn convoy_pub_and_sub_agree_in_5_0() {
    convoy(Version::V5).await;
}
