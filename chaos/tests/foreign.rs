//! Proves: Clients that nobody of this house wrote get what MQTT promises, in every version and over every transport that
//! they speak. paho-mqtt and gmqtt (Python), MQTT.js, and mosquitto's command line clients; and `convoy pub` and
//! `convoy sub` against the same expectations.

mod common;
#[path = "foreign/scripts.rs"]
mod scripts;
#[path = "foreign/tools.rs"]
mod tools;

use std::io::Write;
use std::process::{Command, Stdio};

use convoy_chaos::client::Transport;
use convoy_chaos::fault::skipped;
use convoy_chaos::fleet::{Listeners, Node, Program};
use convoy_chaos::oracle::History;
use scripts::Library;
use tools::Tools;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31,
    V311,
    V5,
}

/// Where a Client of the story connects to.
pub struct Place<'a> {
    pub transport: Transport,
    pub listeners: &'a Listeners,
}

impl Place<'_> {
    pub fn port(&self) -> String {
        self.listeners.address(self.transport).port().to_string()
    }

    /// A file of its certificates as an argument.
    pub fn file(&self, file: impl Fn(&convoy_chaos::fleet::Certificates) -> &std::path::Path) -> String {
        file(&self.listeners.certificates).display().to_string()
    }
}

/// Who tells the stories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    Library(Library),
    Mosquitto,
    Convoy,
}

async fn told(test: &str, teller: Teller, version: Version, transport: Transport) {
    let folder = common::folder();
    let node = common::started_with_listeners(&folder, "").await;
    let place = Place { transport, listeners: node.listeners().expect("it was given them") };
    match teller {
        Teller::Library(library) => match scripts::tell(library, &place, version).await {
            Err(lacking) => skipped(test, &lacking),
            Ok(told) => told.unwrap_or_else(|failed| panic!("{failed}")),
        },
        Teller::Mosquitto => match Tools::mosquitto(&place, version) {
            Err(lacking) => skipped(test, &lacking),
            Ok(tools) => tools::tell(&tools).await,
        },
        Teller::Convoy => {
            let Program::Convoy(path) = node.program() else { return };
            tools::tell(&Tools::convoy(path, &place, version)).await;
        }
    }
}

/// A test for each transport.
macro_rules! promises {
    ($client:ident: $teller:expr, $version:ident, $($name:ident $transport:ident,)*) => {
        mod $client {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = concat!(stringify!($client), "::", stringify!($name));
                    told(test, $teller, Version::$version, Transport::$transport).await;
                }
            )*
        }
    };
}

/// Where a Client can go: everywhere, or not over WebSockets.
macro_rules! table {
    ($($client:ident $version:ident $teller:expr, $reach:ident;)*) => {
        $(table!(@$reach $client $version $teller);)*
    };
    (@everywhere $client:ident $version:ident $teller:expr) => {
        promises! {
            $client: $teller, $version,
            gets_what_mqtt_promises_over_tcp Tcp,
            gets_what_mqtt_promises_over_tls Tls,
            gets_what_mqtt_promises_over_mutual_tls MutualTls,
            gets_what_mqtt_promises_over_web_socket WebSocket,
            gets_what_mqtt_promises_over_secure_web_socket SecureWebSocket,
        }
    };
    (@streams $client:ident $version:ident $teller:expr) => {
        promises! {
            $client: $teller, $version,
            gets_what_mqtt_promises_over_tcp Tcp,
            gets_what_mqtt_promises_over_tls Tls,
            gets_what_mqtt_promises_over_mutual_tls MutualTls,
        }
    };
}

table! {
    paho_3_1 V31 Teller::Library(Library::Paho), everywhere;
    paho_3_1_1 V311 Teller::Library(Library::Paho), everywhere;
    paho_5_0 V5 Teller::Library(Library::Paho), everywhere;
    mqtt_js_3_1 V31 Teller::Library(Library::MqttJs), everywhere;
    mqtt_js_3_1_1 V311 Teller::Library(Library::MqttJs), everywhere;
    mqtt_js_5_0 V5 Teller::Library(Library::MqttJs), everywhere;
    gmqtt_3_1_1 V311 Teller::Library(Library::Gmqtt), streams;
    gmqtt_5_0 V5 Teller::Library(Library::Gmqtt), streams;
    mosquitto_3_1 V31 Teller::Mosquitto, streams;
    mosquitto_3_1_1 V311 Teller::Mosquitto, streams;
    mosquitto_5_0 V5 Teller::Mosquitto, streams;
    convoy_3_1 V31 Teller::Convoy, everywhere;
    convoy_3_1_1 V311 Teller::Convoy, everywhere;
    convoy_5_0 V5 Teller::Convoy, everywhere;
}

/// Two users who may do what they like below topics of their own.
const RULES: &str = "
[limits]
connect_timeout = \"5s\"

[[access.rule]]
effect = \"allow\"
action = \"all\"
topic = \"own/%u/#\"

";

/// How refusals are said and heard, by credentials and by rules.
async fn told_of_users(test: &str, library: Library, version: Version, transport: Transport) {
    let folder = common::folder();
    let Program::Convoy(binary) = common::broker() else { return };
    let mut node = Node::new(common::broker(), &folder.path().join("data"), folder.path(), &History::new())
        .and_then(Node::with_listeners)
        .expect("a folder and ports")
        .with_toml(RULES);
    for user in ["ann", "bob"] {
        let mut command = Command::new(&binary);
        command.args(["ctl", "users", "add", user, "--password-stdin", "--memory-kib", "64", "--data"]);
        let mut child =
            command.arg(node.data()).stdin(Stdio::piped()).spawn().expect("the broker's binary runs");
        let password = format!("secret of {user}");
        child.stdin.take().expect("piped").write_all(password.as_bytes()).expect("it reads the password");
        assert!(child.wait().expect("it ends").success(), "{user} was not added");
    }
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    let place = Place { transport, listeners: node.listeners().expect("it was given them") };
    match scripts::tell_only(library, &place, version, &["access"]).await {
        Err(lacking) => skipped(test, &lacking),
        Ok(told) => told.unwrap_or_else(|failed| panic!("{failed}\nthe node said:\n{}", node.stderr())),
    }
}

/// A test for each library and version, the transports by turns.
macro_rules! users {
    ($($name:ident $library:ident $version:ident $transport:ident;)*) => {
        mod users_and_rules {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = concat!("users_and_rules::", stringify!($name));
                    told_of_users(test, Library::$library, Version::$version, Transport::$transport).await;
                }
            )*
        }
    };
}

users! {
    hold_for_paho_3_1_and_are_told Paho V31 Tls;
    hold_for_paho_3_1_1_and_are_told Paho V311 Tcp;
    hold_for_paho_5_0_and_are_told Paho V5 SecureWebSocket;
    hold_for_mqtt_js_3_1_and_are_told MqttJs V31 WebSocket;
    hold_for_mqtt_js_3_1_1_and_are_told MqttJs V311 SecureWebSocket;
    hold_for_mqtt_js_5_0_and_are_told MqttJs V5 Tcp;
}
