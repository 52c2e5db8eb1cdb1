//! The sections of the configuration. Each field says what it changes, when to raise it and what that costs.

use super::listener::Network;
use convoy_actors::{Excess, SecondConnection, Usage};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `[node]`: this process.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeOptions {
    /// The name operators see. Free to change: identity is drawn once and lives in the data folder.
    pub name: String,
    /// What fails together with this node: a rack, a hall, an availability zone.
    pub zone: String,
    /// The folder everything durable lives in. It belongs to one process at a time.
    pub data: PathBuf,
    /// Threads that own connections and slots. 0 takes one per core. Lower it to leave cores to others; more
    /// shards than cores only adds switches.
    pub shards: usize,
    /// Where 5.0 Clients are sent when this node shuts down: `host` or `host:port`, several of them with spaces
    /// between (MQTT 5.0, 4.11). Empty for nowhere.
    pub server_reference: Option<String>,
    /// How often the node tells how it is under `$SYS`. Zero: never. Each time costs a message for each value that has
    /// changed and each subscriber of it, and nothing on disk.
    pub sys_interval: Duration,
    /// Time of a processor that a shard may use for one thing before it counts as stuck: `/livez` fails, and the process
    /// ends so that its supervisor starts it again. Raise it where a slow machine has to finish what takes so long.
    pub step_limit: Duration,
    /// Threads that shake hands (TLS, WebSocket, PROXY protocol) before a connection goes to its shard. 0 takes one for
    /// two cores. Raise it to let a fleet return faster over TLS; they give way to shards, which pay for it all the
    /// same.
    pub handshake_threads: usize,
}

/// `[fleet]`: what all nodes of a fleet must agree on, fixed when the fleet is born.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetOptions {
    /// Shares of the key space. Raise it for fleets beyond some tens of nodes; each slot costs a Raft group on
    /// every replica.
    pub slots: u16,
    /// Partitions of each parent topic. Raise it when one parent topic must use more nodes; a Topic Filter with
    /// a wildcard in its first levels is registered once per partition.
    pub partitions: u16,
    /// Leading levels of a Topic Name that choose its partition. Raise it when the first levels say little
    /// (`fleet/eu/VIN/...`); filters with a wildcard within them cost more.
    pub partition_levels: usize,
    /// Replicas of each slot, on nodes in as many zones as there are; a fleet of fewer nodes has as many as it has nodes. An
    /// acknowledgement waits until most of them have what it promises on disk. Each costs its node the disk and the work of
    /// one.
    pub replicas: u8,
    /// A node that is away for so long gives its place to others: what it kept is copied to them. It takes part again when it
    /// comes back. Raise it where nodes are often away for long; until then fewer have a copy of what it kept.
    pub replace_after: Duration,
}

/// `[peer]`: the other nodes of the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerOptions {
    /// Where this node listens for the others: TCP for links, UDP for membership. Without it the node is alone, and no other
    /// can join it.
    pub addr: Option<SocketAddr>,
    /// Where the others reach it, a name or an address with a port; by default `peer.addr`. Behind NAT or in a container it
    /// differs.
    pub advertise: Option<String>,
    /// Members of the fleet that a new node joins, each a name or an address with a port. A node that is a member needs none.
    /// Without it a new node founds a fleet of its own.
    pub join: Vec<String>,
    /// Lets a new node join: `convoy ctl token` on a member makes one. A member needs none.
    pub token: Option<String>,
}

/// `[api]`: health, metrics and state for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiOptions {
    /// Where it listens. It has no TLS of its own: off loopback a proxy has to stand before it.
    pub addr: SocketAddr,
    /// Off loopback too, and under any Host, `/metrics` and `/status` are answered without the key: whoever reaches the
    /// address sees figures.
    /// Everything under `/api/v1` needs the key wherever it is served.
    pub allow_anonymous: bool,
    /// Pages of other origins that may ask, such as `https://console.example.com`; a page that the API's own address has
    /// served may always. Each needs the key all the same.
    pub origins: Vec<String>,
    /// Connections at once; an eighth of them is kept for those without the key, who ask for health. When all are taken,
    /// one without the key is closed for the next: of the address that has most of them, whoever does not read its
    /// answer, or else the oldest that is not being answered. Few descriptors bound it further. Each has one request
    /// under way: the next one is read once the answer is written, and an answer of which nothing is taken for five
    /// seconds ends its connection.
    pub connections: usize,
    /// Bytes of the head of a request; a longer one is answered with 431.
    pub head_bytes: usize,
    /// Time for the head of a request to come.
    pub head_timeout: Duration,
    /// Time for the body of a request to come, and for its answer. A body may have a third more bytes than
    /// `limits.packet_bytes`, for a payload in base64; that of a request without the key is not read. Room is kept for
    /// sixteen of the greatest length; a body above 4 KiB for which there is none is refused with 503.
    pub body_timeout: Duration,
}

/// `[limits]`: what one Client, and all of them together, may ask of this node.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsOptions {
    /// Maximum Packet Size of what a Client sends. A longer packet ends its connection with Packet too large (0x95). Raise
    /// it for large payloads; a connection may hold that much memory while such a packet arrives, and a record of the log
    /// has to hold it.
    pub packet_bytes: u32,
    /// The same for CONNECT, which comes before authentication; a longer one is refused. Raise it for large Will
    /// Messages or tokens; it is memory that strangers can ask for.
    pub connect_packet_bytes: u32,
    /// Bytes of a Client Identifier; a longer one is refused with Client Identifier not valid (0x85; 3.x: 2). The protocol
    /// allows 65,535. It is written several times with each CONNECT, and whoever has one of 8 KiB cannot be named by
    /// `convoy ctl` unless `api.head_bytes` is raised too.
    pub client_id_bytes: u16,
    /// Time from accept to a whole CONNECT, after which the connection is closed without a word, and as long again from
    /// there to its answer, which is then Server Busy (0x89; 3.x: 3). Raise it for very slow links or disks; idle
    /// strangers hold a descriptor that long.
    pub connect_timeout: Duration,
    /// Longest Keep Alive granted; a longer one, or none, is answered with this as Server Keep Alive (5.0). Zero
    /// leaves it to the Client, also to have none. Lower it to notice dead connections sooner; each Client then
    /// sends a PINGREQ that often.
    pub keep_alive_maximum: Duration,
    /// Receive Maximum towards publishers: QoS 1 and 2 messages a Client may have unacknowledged. Of a Client of 3.x no
    /// more is read until one is acknowledged; one of 5.0 that sends more breaks a rule and is closed with Receive Maximum
    /// exceeded (0x93). Raise it for fast publishers on long links; each may hold one packet in memory.
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages towards a Client that gave no Receive Maximum, as all of 3.x. Raise it
    /// for fast subscribers on long links; slow Clients then get more duplicates on resume.
    pub inflight_default: u16,
    /// The same towards any Client, whatever its Receive Maximum. Each may hold one packet in memory.
    pub inflight_maximum: u16,
    /// Topic Aliases a Client may define; a higher one ends its connection with Topic Alias invalid (0x94). Each costs
    /// its Topic Name in memory while the connection lasts.
    pub topic_alias_maximum: u16,
    /// Bytes that may wait to be written to one connection; beyond it QoS 0 messages are dropped
    /// (`convoy_messages_dropped_slow_receiver_total`) and others wait in the Session. Raise it for bursts to slow
    /// readers; every slow reader may hold that much memory.
    pub output_bytes: usize,
    /// Bytes of answers that may wait to be written to one connection: acknowledgements and PINGRESP, which come beside
    /// the messages. Beyond it nothing is read from its Client until that reads again. Raise it for Clients that send
    /// much before they read; every Client that does not read may hold that much memory.
    pub answer_bytes: usize,
    /// Bytes of what one connection sent that may be under way: messages without their acknowledgement, messages of QoS 0
    /// that wait for a record, and mail between shards that is not opened. Beyond it nothing is read from its Client until
    /// some of it is done; others go on. Of a slot for which 8 MiB wait, or 16 MiB in its shard, each publisher has one
    /// message at a time under way. Raise it for few fast publishers on a slow disk; each publisher may hold that much
    /// memory.
    pub underway_bytes: usize,
    /// A Client that takes nothing of what waits to be written to it for so long is closed without a word. Raise it for
    /// links that are cut for minutes; such a Client holds its connection and what waits that long.
    pub unread_timeout: Duration,
    /// Bytes of messages in memory that all Clients of the node together have not read: in outputs, and kept for Sessions
    /// that end with their connections. What many wait for counts once. Beyond it nothing more is held for a Client whose
    /// socket takes nothing: QoS 0 for it is dropped, and the oldest goes from its queue in memory; who has taken nothing
    /// for a second is closed, those for whom most is held first. What a Session has on disk stays there. Raise it for large
    /// fleets over slow links; it is memory.
    pub unread_bytes: usize,
    /// Bytes of packets that have not come whole, or whose CONNECT is not judged yet, of all connections together. Each
    /// shard has its share. Clients that are not connected may use a quarter of it; when all is used they are closed first,
    /// then whoever needs more (Server Busy). Raise it for many large packets over slow links.
    pub unfinished_bytes: usize,
    /// How long a publisher may wait for its acknowledgement before its connection is closed (Server Busy, 0x89). Raise
    /// it for slow disks; Clients then learn later that something is wrong.
    pub acknowledge_timeout: Duration,
    /// Messages that wait for one Session, beside those that its Client was sent and has not acknowledged. Beyond it
    /// what has expired goes, then the oldest (`convoy_messages_dropped_queue_full_total`); no publisher is told. Raise it
    /// for Clients that are away for long; it costs disk.
    pub queue_messages: u32,
    /// Bytes that wait for one Session; beyond it messages go in the same order. For a Session that ends with its
    /// connection they are memory.
    pub queue_bytes: u64,
    /// Age at which a queued message goes, whatever its own Message Expiry Interval says.
    pub queue_age: Duration,
    /// Session expiry of Clients that cannot say one: 3.1 and 3.1.1 with Clean Session 0.
    pub session_expiry_default: Duration,
    /// Longest Session Expiry Interval granted. Lower it where vehicles are scrapped without a word: state and
    /// queue of a Session stay on disk until it expires.
    pub session_expiry_maximum: Duration,
    /// Sessions of this node that outlive their connections; beyond it a CONNECT that would begin another one is refused
    /// with Quota exceeded (3.x: Server unavailable). Whoever has one is let in. Sessions that end with their connection are
    /// bounded by `connections`. Raise it for fleets whose vehicles are away for long: each costs disk, and memory for
    /// its Subscriptions. Shards know what others hold as of a tenth of a second ago, so it may be exceeded by what
    /// comes in that time.
    pub sessions: u64,
    /// Bytes that wait for Sessions of this node on disk, of their Wills, and on their way from slot to slot. A message that
    /// several Sessions wait for counts for each. Beyond it publications that would add to them are refused with Quota
    /// exceeded (3.x: closed after five seconds without its acknowledgement), and a CONNECT with a larger Will; what was
    /// acknowledged stays. It may be exceeded by what is on its way to the log.
    pub stored_bytes: u64,
    /// Of these, those of Wills: the Will of a Client that is connected is in memory too. Beyond it a CONNECT with a Will that
    /// is larger than the one its Session has is refused with Quota exceeded (3.x: Server unavailable). A million
    /// vehicles with Wills of 200 bytes need 200 MB of it, and twice as much if all of them are one user.
    pub will_bytes: u64,
    /// What one user may have of `sessions`, `stored_bytes`, `will_bytes`, `retained_messages` and `retained_bytes`;
    /// all Clients without a user name are one: the same keys with `_per_user` behind them. By default half of what the
    /// node may, so that no single user shuts all others out. Lower them where each vehicle has a user name of its own.
    /// With several shards they may be exceeded by a sixteenth more. Whoever publishes to a user whose Sessions hold
    /// `stored_bytes_per_user` is not refused: the Session that gets the message lets as many bytes go, as where its
    /// own queue is full.
    pub user: Usage,
    /// Subscriptions of one Session; SUBACK refuses more with Quota exceeded (0x97; 3.x: 0x80). As many Topic Filters
    /// may wait for their Retained Messages. Profiles of cloud products set far lower ones.
    pub subscriptions_per_session: u32,
    /// Bytes of the Topic Filters of one Session; SUBACK refuses more in the same way. Each is kept with the Session
    /// and in every partition that it touches. Raise it with `subscriptions_per_session`, for long Topic Filters.
    pub filter_bytes_per_session: u64,
    /// Levels of a Topic Name or Topic Filter. A PUBLISH with more ends its connection with Topic Name invalid (0x90);
    /// SUBACK refuses more with Topic Filter invalid (0x8F; 3.x: 0x80). Matching walks them one by one.
    pub topic_levels: u16,
    /// Bytes of a Topic Name or Topic Filter; longer ones are refused in the same way. The protocol allows 65,535.
    pub topic_bytes: u16,
    /// Levels of a Topic Filter with `+`, a last `#` not counted; SUBACK refuses more with Topic Filter invalid (0x8F;
    /// 3.x: 0x80). Where all `+` stand next to each other (`/hfp/v2/journey/ongoing/vp/+/+/+/+/+/+/+/+/+/+/+/#`) there
    /// may be twice as many, and where they stand in two such places one more. Any number of Topic Filters that almost
    /// match cost a message at most about 2^(this + 1.5) steps of some 50 ns in each of two trees, so each further
    /// level doubles what a stranger can make one message cost. What was subscribed before it was lowered stays.
    pub wildcard_levels: u16,
    /// Retained Messages of this node. Beyond it a new one is refused with Quota exceeded (3.x: closed after five seconds
    /// without its acknowledgement), and dropped at QoS 0; a Will is published and not retained. Replacing one by another that
    /// is not larger goes on, and deleting.
    pub retained_messages: u64,
    /// Bytes of Retained Messages of this node on disk: Topic Names, properties, payloads and who published them. Beyond it
    /// the same.
    pub retained_bytes: u64,
    /// Messages per second that one Client may publish; zero for any number. A second's worth may come at once. What becomes
    /// of more is for `publish_excess` to say. Set it to keep one Client from taking what many need.
    pub publish_messages_per_second: u32,
    /// The same in bytes of Topic Names, properties and payloads.
    pub publish_bytes_per_second: u32,
    /// What becomes of a message beyond that: "wait" reads it later and loses nothing; "refuse" drops it at QoS 0, and
    /// answers Quota exceeded (0x97; 3.x: closed after five seconds without its acknowledgement) at QoS 1 and 2.
    pub publish_excess: Excess,
    /// What becomes of a second connection with a Client Identifier: "take_over" closes the first one, as MQTT asks
    /// for; "refuse" keeps it and answers Client Identifier not valid (0x85; 3.x: 2), so that a Client whose connection died
    /// unnoticed waits for the end of its Keep Alive.
    pub second_connection: SecondConnection,
    /// Network Connections of this node; beyond it new ones are closed at once. The node raises its limit of open files as
    /// far as it may (`LimitNOFILE=` of systemd, `ulimit -Hn`) and keeps what storage and the API need: where that leaves
    /// fewer, it says so at the start and the smaller number holds.
    pub connections: u32,
    /// Network Connections accepted per second; beyond it they are closed at once. By default a
    /// hundredth of `connections`, at least 100. Raise it to let a fleet return faster after an outage; that
    /// burst competes with traffic.
    pub connects_per_second: u32,
    /// Network Connections that have come and whose Client is not connected by MQTT yet; beyond it new ones are closed at
    /// once. By default a tenth of `connections`, at least 1,000. Raise it to let a fleet return faster over slow links; it
    /// is what strangers can hold.
    pub half_open: u32,
    /// The same three for one address (IPv4) or the first 64 bits of one (IPv6): keys `connections_per_address`,
    /// `half_open_per_address` and `connects_per_second_per_address`. By default half of the node's connections, a
    /// quarter of its half-open ones and half of its new ones, so that no single address shuts all others out. Lower them
    /// where each vehicle has an address of its own; behind the NAT of a carrier many have one. Where descriptors leave room
    /// for fewer connections than said, they are at most so large a share of what is left.
    pub address: AddressLimits,
    /// Networks to which the limits of addresses do not apply. By default this machine.
    pub addresses_exempt: Vec<Network>,
    /// Handshakes under way at once; beyond it new connections wait in the kernel's backlog. Raise it for slow links;
    /// each may hold some tens of kilobytes.
    pub handshakes: u32,
    /// Time from accept to the end of the handshake, where a listener has one.
    pub handshake_timeout: Duration,
}

/// What one address may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimits {
    pub connections: u32,
    pub half_open: u32,
    pub connects_per_second: u32,
}

/// `[storage]`: RocksDB.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageOptions {
    /// Memory for blocks read from disk. Raise it when many queues are drained at once.
    pub block_cache_bytes: u64,
    /// Memory for writes not yet in tables, all column families together. Where the disk is slower than what comes, a quarter
    /// more is used at most: then nothing more is written until it has caught up, publishers wait for their
    /// acknowledgements, and what needs no record goes on. Raise it to write amplify less under steady load and to take
    /// longer bursts; recovery after a crash replays at most this much.
    pub write_buffer_bytes: u64,
    /// Free space below which publications that need a record, new lasting Sessions, larger Wills and new Subscriptions
    /// are refused while readers go on. Leave room for compaction.
    pub min_free_bytes: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct LogOptions {
    /// A level, or directives per module such as `info,convoy::drive=debug`. `CONVOY_LOG` overrides it.
    pub level: String,
    /// Lines for people, or an object of JSON in each line. They go to stderr.
    pub format: LogFormat,
}

const KIB: u32 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What MQTT 5.0 calls a Session that does not expire [3.1.2.11.2].
pub(super) const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            name: host_name(),
            zone: "default".to_owned(),
            data: PathBuf::from("./convoy-data"),
            shards: 0,
            server_reference: None,
            sys_interval: Duration::from_secs(10),
            step_limit: Duration::from_secs(10),
            handshake_threads: 0,
        }
    }
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            slots: 64,
            partitions: 8,
            partition_levels: 2,
            replicas: 3,
            replace_after: Duration::from_secs(600),
        }
    }
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 18083)),
            allow_anonymous: false,
            origins: Vec::new(),
            connections: 256,
            head_bytes: 32 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for LimitsOptions {
    fn default() -> Self {
        let connections = 1_000_000;
        let connects_per_second = Self::connects_per_second_for(connections);
        let half_open = Self::half_open_for(connections);
        // Half of it is enough for a fleet of one user.
        let node = Usage {
            sessions: 2_000_000,
            retained_messages: 2_000_000,
            retained_bytes: 8 * GIB,
            stored_bytes: 64 * GIB,
            will_bytes: 512 * MIB,
        };
        Self {
            packet_bytes: 1024 * KIB,
            connect_packet_bytes: 128 * KIB,
            client_id_bytes: 4096,
            connect_timeout: Duration::from_secs(10),
            keep_alive_maximum: Duration::ZERO,
            receive_maximum: 1024,
            inflight_default: 32,
            inflight_maximum: 1024,
            topic_alias_maximum: 16,
            output_bytes: 1 << 20,
            answer_bytes: 64 << 10,
            underway_bytes: 1 << 20,
            unread_timeout: Duration::from_secs(60),
            unread_bytes: 256 << 20,
            unfinished_bytes: 128 << 20,
            acknowledge_timeout: Duration::from_secs(30),
            queue_messages: 1000,
            queue_bytes: 64 * MIB,
            queue_age: 3 * DAY,
            session_expiry_default: 2 * HOUR,
            session_expiry_maximum: NEVER,
            sessions: node.sessions,
            stored_bytes: node.stored_bytes,
            will_bytes: node.will_bytes,
            user: Self::of_user(&node),
            subscriptions_per_session: 1_000,
            filter_bytes_per_session: 256 << 10,
            topic_levels: 128,
            topic_bytes: 4096,
            wildcard_levels: 12,
            retained_messages: node.retained_messages,
            retained_bytes: node.retained_bytes,
            publish_messages_per_second: 0,
            publish_bytes_per_second: 0,
            publish_excess: Excess::Wait,
            second_connection: SecondConnection::TakesOver,
            connections,
            connects_per_second,
            half_open,
            address: AddressLimits::of_node(connections, half_open, connects_per_second),
            addresses_exempt: ["127.0.0.0/8", "::1"].map(|text| text.parse().expect("a network")).into(),
            handshakes: 4096,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl LimitsOptions {
    pub(super) fn connects_per_second_for(connections: u32) -> u32 {
        (connections / 100).max(100)
    }

    /// What one user may have of what the node may.
    pub(super) fn of_user(node: &Usage) -> Usage {
        Usage {
            sessions: node.sessions.div_ceil(2),
            stored_bytes: node.stored_bytes.div_ceil(2),
            will_bytes: node.will_bytes.div_ceil(2),
            retained_messages: node.retained_messages.div_ceil(2),
            retained_bytes: node.retained_bytes.div_ceil(2),
        }
    }

    /// What the node may store.
    pub fn of_node(&self) -> Usage {
        let Self { sessions, stored_bytes, will_bytes, retained_messages, retained_bytes, .. } = *self;
        Usage { sessions, stored_bytes, will_bytes, retained_messages, retained_bytes }
    }

    pub(super) fn half_open_for(connections: u32) -> u32 {
        (connections / 10).max(1000)
    }
}

impl AddressLimits {
    /// The defaults, for a node with these limits.
    pub fn of_node(connections: u32, half_open: u32, connects_per_second: u32) -> Self {
        Self {
            connections: connections.div_ceil(2),
            half_open: half_open.div_ceil(4),
            connects_per_second: connects_per_second.div_ceil(2),
        }
    }
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 64 * MIB, write_buffer_bytes: 64 * MIB, min_free_bytes: 256 * MIB }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The host's name where it has one that a node may carry.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if is_name(name) { name.to_owned() } else { "convoy".to_owned() }
}

/// Names of nodes and zones end up in labels, paths and host lists: letters, digits, `-`, `_`, `.`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
