//! Others: they go on with QoS 2 while somebody does harm, and whatever happens to them is an invariant broken.

use std::time::Duration;

use convoy_chaos::client::Client;
use convoy_chaos::fleet::Node;
use convoy_chaos::invariant;
use convoy_chaos::oracle::{History, Ledger, Qos, Retain, Terms};
use convoy_wire::ProtocolVersion;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Messages before the harm begins, to know how long one takes in quiet.
const QUIET: usize = 60;

pub struct Bystanders {
    history: History,
    stop: watch::Sender<bool>,
    /// How long each message took, from PUBLISH to both ends of QoS 2.
    task: JoinHandle<Vec<Duration>>,
    quiet: Duration,
}

impl Bystanders {
    pub async fn start(node: &Node) -> Self {
        let history = History::new();
        let (stop, stopped) = watch::channel(false);
        let mut van = Client::new("bystander-van", ProtocolVersion::V311, node.mqtt(), &history);
        van.connect(Terms::lasting()).await.expect("a place to stand");
        van.subscribe("calm/#", Qos::ExactlyOnce).await.expect("a place to stand");
        let mut desk = Client::new("bystander-desk", ProtocolVersion::V5, node.mqtt(), &history);
        desk.connect(Terms::lasting()).await.expect("a place to stand");
        let mut quiet = Vec::new();
        for _ in 0..QUIET {
            quiet.push(one_message(&mut desk, &mut van).await);
            sleep(Duration::from_millis(5)).await;
        }
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            while !*stopped.borrow() {
                took.push(one_message(&mut desk, &mut van).await);
                sleep(Duration::from_millis(5)).await;
            }
            took
        });
        Self { history, stop, task, quiet: percentile(&mut quiet, 99) }
    }

    pub async fn assert_unharmed(self, node: &mut Node) {
        self.stop.send_replace(true);
        let mut took = self.task.await.unwrap_or_else(|error| panic!("{error}\n{}", node.stderr()));
        assert!(!took.is_empty(), "the bystanders did nothing");
        assert_eq!(invariant::check(&Ledger::of(self.history.events())), []);
        assert!(node.is_running() && node.is_ready().await, "the node is down:\n{}", node.stderr());
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut took, percent));
        println!("others meanwhile: p50 {p50:.1?}, p99 {p99:.1?} (p99 in quiet: {:.1?})", self.quiet);
        // Whoever does harm takes a share of two cores, and so do other tests: the bound is on harm, not on sharing.
        let limit = self.quiet * 10 + Duration::from_secs(1);
        assert!(p99 <= limit, "others waited {p99:?}, more than {limit:?}");
    }
}

async fn one_message(desk: &mut Client, van: &mut Client) -> Duration {
    let began = Instant::now();
    let until = began + Duration::from_secs(10);
    let before = van.delivered_count();
    desk.publish("calm/x", Qos::ExactlyOnce, Retain::No).await.expect("others are not disturbed");
    let in_time = desk.settle(until).await.expect("others stay connected");
    assert!(in_time, "others waited 10 s for an acknowledgement");
    while van.delivered_count() == before {
        assert!(van.step(until).await.expect("others stay connected"), "others waited 10 s for a message");
    }
    began.elapsed()
}

fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    took[(took.len() * percent / 100).min(took.len() - 1)]
}

/// What strangers opened is given back.
pub async fn descriptors_return_to(node: &Node, before: usize) {
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let now = node.descriptors().expect("it runs");
        // The engine opens and closes a few files on its own.
        if now <= before + 16 {
            return;
        }
        assert!(Instant::now() < until, "{now} descriptors are open, {before} were before");
        sleep(Duration::from_millis(100)).await;
    }
}
