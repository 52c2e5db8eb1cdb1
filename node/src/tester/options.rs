//! The options of both commands, with the letters that mosquitto's clients use.

use super::{
    Error,
    client::ClientOptions,
    property::{On, Properties},
    secure::SecureOptions,
};
use clap::Args;
use convoy_wire::{ProtocolVersion, QoS, TopicFilter, TopicName};
use std::{path::PathBuf, time::Duration};

/// Where to connect, and as whom.
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct ConnectionOptions {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Host to connect to
    #[arg(short = 'h', long, default_value = "localhost")]
    pub host: String,
    /// Port to connect to [default: 1883; 8883 with TLS; 80 and 443 with WebSocket]
    #[arg(short = 'p', long)]
    port: Option<u16>,
    /// Host, credentials and topic at once: mqtt://[user[:password]@]host[:port]/topic; also mqtts://, ws:// and wss://
    #[arg(short = 'L', long, conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    #[command(flatten)]
    pub secure: SecureOptions,
    /// Client Identifier; without one the server assigns it
    #[arg(short = 'i', long, conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client Identifier made of this and the number of our process
    #[arg(short = 'I', long)]
    id_prefix: Option<String>,
    /// User name
    #[arg(short = 'u', long)]
    username: Option<String>,
    /// Password
    #[arg(short = 'P', long = "pw", alias = "password")]
    password: Option<String>,
    /// Keep Alive in seconds; 0 is off
    #[arg(short = 'k', long = "keepalive", default_value_t = 60)]
    keep_alive: u16,
    /// Keep the session: Clean Start 0, Clean Session 0 before 5.0. Needs a Client Identifier
    #[arg(short = 'c', long)]
    disable_clean_session: bool,
    /// Seconds the session outlives its connection, 5.0 only; -1 is for ever, the default with -c
    #[arg(short = 'x', long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = session_expiry)]
    session_expiry_interval: Option<u32>,
    /// mqttv31 (31), mqttv311 (311) or mqttv5 (5) [default: 311; 5 with -x or -D]
    #[arg(short = 'V', long, value_parser = version)]
    protocol_version: Option<ProtocolVersion>,
    /// Property of a packet, 5.0 only: COMMAND IDENTIFIER VALUE, or COMMAND user-property NAME VALUE
    #[arg(short = 'D', long = "property", num_args = 3..=4, value_names = ["COMMAND", "IDENTIFIER", "VALUE"])]
    property: Vec<String>,
    /// Topic of the Will Message
    #[arg(long)]
    will_topic: Option<String>,
    /// Payload of the Will Message
    #[arg(long, requires = "will_topic")]
    will_payload: Option<String>,
    /// QoS of the Will Message
    #[arg(long, requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: QoS,
    /// Retain the Will Message
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Messages under way at once
    #[arg(short = 'M', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    max_inflight: u16,
    /// Print every packet to stderr
    #[arg(short = 'd', long)]
    debug: bool,
    /// Print no errors
    #[arg(long)]
    pub quiet: bool,
}

/// Publish messages
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct PubOptions {
    #[command(flatten)]
    pub connection: ConnectionOptions,
    /// Topic to publish to
    #[arg(short = 't', long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub payload: Payload,
    /// Quality of service
    #[arg(short = 'q', long, default_value = "0", value_parser = qos)]
    pub qos: QoS,
    /// Retain the message
    #[arg(short = 'r', long)]
    pub retain: bool,
    /// Publish the message this many times
    #[arg(long, default_value_t = 1, conflicts_with = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,
    /// Seconds between repeats
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub repeat_delay: Duration,
}

/// What to publish: exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Payload {
    /// The message
    #[arg(short = 'm', long, allow_hyphen_values = true)]
    pub message: Option<String>,
    /// A file whose content is the message
    #[arg(short = 'f', long)]
    pub file: Option<PathBuf>,
    /// A message for each line of stdin
    #[arg(short = 'l', long = "stdin-line")]
    pub lines: bool,
    /// An empty message
    #[arg(short = 'n', long)]
    pub null_message: bool,
    /// All of stdin as one message
    #[arg(short = 's', long)]
    pub stdin_file: bool,
}

/// Subscribe and print messages
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct SubOptions {
    #[command(flatten)]
    pub connection: ConnectionOptions,
    /// Topic Filter to subscribe to, may be repeated
    #[arg(short = 't', long = "topic")]
    pub topics: Vec<String>,
    /// Topic Filter to unsubscribe from, may be repeated
    #[arg(short = 'U', long = "unsubscribe")]
    pub unsubscribe: Vec<String>,
    /// Topic Filter whose messages are not printed, may be repeated
    #[arg(short = 'T', long = "filter-out")]
    pub filter_out: Vec<String>,
    /// Highest quality of service to receive
    #[arg(short = 'q', long, default_value = "0", value_parser = qos)]
    pub qos: QoS,
    /// Print the topic before the payload
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Print messages in this format: %t topic, %p payload, %q QoS, %r retain, %l length, %m identifier, %x hex,
    /// %j JSON, %J JSON with a JSON payload, %U time, %I time as ISO 8601, and 5.0 properties
    #[arg(short = 'F', long, conflicts_with = "verbose")]
    pub format: Option<String>,
    /// Print no newline after each message
    #[arg(short = 'N')]
    pub no_newline: bool,
    /// Exit after this many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Exit with 27 after this many seconds
    #[arg(short = 'W', value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Exit once all subscriptions are answered
    #[arg(short = 'E')]
    pub exit_after_subscribe: bool,
    /// Do not print Retained Messages
    #[arg(short = 'R', conflicts_with = "retained_only")]
    pub no_retained: bool,
    /// Print Retained Messages only, and exit with the first other one
    #[arg(long)]
    pub retained_only: bool,
    /// Delete the Retained Messages that are received
    #[arg(long)]
    pub remove_retained: bool,
    /// Keep the RETAIN flag as it was published, 5.0 only
    #[arg(long)]
    pub retain_as_published: bool,
}

impl ConnectionOptions {
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.secure.default_port())
    }

    /// Resolves what depends on each other. The topic of a URL, if there is one, comes back beside it.
    pub fn resolve(&mut self, role: &str) -> Result<(ClientOptions, Option<String>), Error> {
        let topic = self.take_url()?;
        let properties = Properties::parse(&self.property).map_err(Error::Usage)?;
        let wants_v5 = !properties.is_empty() || self.session_expiry_interval.is_some();
        let version = match self.protocol_version {
            Some(version) if wants_v5 && !version.has_properties() => {
                return Err(usage(format!("-x and -D need MQTT 5.0, and -V asks for {version}")));
            }
            Some(version) => version,
            None if wants_v5 => ProtocolVersion::V5,
            None => ProtocolVersion::V311,
        };
        let keeps_session = self.disable_clean_session;
        let client_id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            (None, None) if keeps_session => {
                return Err(usage("-c needs a Client Identifier: -i".to_owned()));
            }
            // 3.1 knows no empty Client Identifier, and at most 23 characters.
            (None, None) if version == ProtocolVersion::V31 => {
                format!("convoy-{role}-{}", std::process::id())
            }
            (None, None) => String::new(),
        };
        if self.password.is_some() && self.username.is_none() && !version.has_properties() {
            return Err(usage("-P needs -u before MQTT 5.0".to_owned()));
        }
        if let Some(topic) = &self.will_topic {
            TopicName::new(topic).map_err(|error| usage(format!("--will-topic {topic}: {error}")))?;
        } else if properties.has(On::Will) {
            return Err(usage("-D will needs --will-topic".to_owned()));
        }
        let session_expiry = match self.session_expiry_interval {
            Some(seconds) => Some(seconds),
            None => {
                let said = properties.number(On::Connect, "session-expiry-interval");
                said.or((keeps_session && version.has_properties()).then_some(u32::MAX))
            }
        };
        let options = ClientOptions {
            version,
            client_id,
            clean_start: !keeps_session,
            keep_alive: self.keep_alive,
            username: self.username.clone(),
            password: self.password.clone().map(String::into_bytes),
            will: self.will_topic.clone().map(|topic| super::client::Message {
                topic,
                payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
                qos: self.will_qos,
                retain: self.will_retain,
            }),
            session_expiry,
            properties,
            inflight_max: self.max_inflight,
            debug: self.debug,
        };
        Ok((options, topic))
    }

    /// Spreads a URL over the options it stands for.
    fn take_url(&mut self) -> Result<Option<String>, Error> {
        let Some(url) = self.url.take() else {
            return Ok(None);
        };
        let wrong = || usage(format!("-L {url}: expected mqtt://[user[:password]@]host[:port]/topic"));
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (is_tls, is_web) = match scheme {
            "mqtt" => (false, false),
            "mqtts" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return Err(wrong()),
        };
        // Whom to trust may be said beside it.
        self.secure.tls_use_os_certs |= is_tls && !self.secure.is_tls();
        self.secure.ws |= is_web;
        let (authority, topic) = rest.split_once('/').ok_or_else(wrong)?;
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        if let Some(credentials) = credentials {
            let (user, password) = match credentials.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (credentials, None),
            };
            self.username = Some(user.to_owned());
            self.password = password.map(str::to_owned).or(self.password.take());
        }
        // A colon inside brackets belongs to an IPv6 address.
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
            _ => (address, None),
        };
        if host.is_empty() || topic.is_empty() {
            return Err(wrong());
        }
        self.host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        self.port = port;
        Ok(Some(topic.to_owned()))
    }
}

impl SubOptions {
    /// Every Topic Filter is one.
    pub fn check(&self) -> Result<(), Error> {
        for filter in self.topics.iter().chain(&self.unsubscribe).chain(&self.filter_out) {
            TopicFilter::new(filter).map_err(|error| usage(format!("topic filter {filter}: {error}")))?;
        }
        if self.topics.is_empty() && self.unsubscribe.is_empty() {
            return Err(usage("what to subscribe to? -t TOPIC".to_owned()));
        }
        Ok(())
    }
}

fn usage(text: String) -> Error {
    Error::Usage(text)
}

fn version(text: &str) -> Result<ProtocolVersion, String> {
    match text {
        "mqttv31" | "31" | "3.1" => Ok(ProtocolVersion::V31),
        "mqttv311" | "311" | "3.1.1" => Ok(ProtocolVersion::V311),
        "mqttv5" | "5" | "5.0" => Ok(ProtocolVersion::V5),
        _ => Err("expected mqttv31, mqttv311 or mqttv5".to_owned()),
    }
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_u8).ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected seconds".to_owned())
}

fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        text => text.parse().map_err(|_| "expected seconds, or -1 for ever".to_owned()),
    }
}
