//! Two ends of a link, over a pipe that can stand still, and over TCP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::Lane;

const LIMIT: usize = 1 << 20;

/// A link lives for a hundredth of the time.
fn quick() -> Times {
    let of = |times: Duration| times / 20;
    let Times { hello, sign, silence, idle, forgotten } = Times::default();
    Times { hello, sign: of(sign), silence: of(silence), idle: of(idle), forgotten: of(forgotten) }
}

/// Reads in a task; what has come, and how it ended.
type Got = Arc<Mutex<(Vec<Frame>, Option<String>)>>;

fn read(mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Got {
    let got = Got::default();
    let into = Arc::clone(&got);
    tokio::spawn(async move {
        let times = quick();
        let hello = receiving::welcome(&mut stream, |_| Reply::Welcome, &times).await;
        let broken = match hello {
            Ok(hello) => {
                let take = |frames| into.lock().unwrap().0.extend(frames);
                receiving::receive(stream, hello.lane, LIMIT, &times, take).await
            }
            Err(broken) => broken,
        };
        into.lock().unwrap().1 = Some(broken.to_string());
    });
    got
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn frames_come_in_their_order_and_a_link_without_any_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let got = read(listener.accept().await.unwrap().0);
    let (queue, times) = (Arc::new(Queue::new(Lane::Shards)), quick());
    sending::greet(&mut dialled, Hello::new(Lane::Shards, 1), &times).await.unwrap();
    let sender = Arc::clone(&queue);
    let sending = tokio::spawn(async move { sending::send(dialled, &sender, &quick()).await.to_string() });
    until(|| queue.is_open()).await;
    let large = vec![7; LIMIT];
    for to in 0..200_u16 {
        queue.push([(to, &to.to_be_bytes()[..]), (to, &large[..usize::from(to) * 100])]);
    }
    queue.push([(1, &large[..])]);
    until(|| got.lock().unwrap().0.len() == 401).await;
    let frames = std::mem::take(&mut got.lock().unwrap().0);
    for (pair, to) in frames.chunks(2).zip(0..200_u16) {
        assert_eq!((pair[0].to, &pair[0].bytes[..]), (to, &to.to_be_bytes()[..]));
        assert_eq!((pair[1].to, pair[1].bytes.len()), (to, usize::from(to) * 100));
    }
    assert_eq!(frames[400].bytes, large);

    // For longer than either side would wait for the other one.
    sleep(quick().forgotten * 2).await;
    queue.push([(9, &b"there"[..])]);
    until(|| got.lock().unwrap().0.len() == 1).await;
    queue.end();
    assert_eq!(sending.await.unwrap(), Broken::Ended.to_string());
    until(|| got.lock().unwrap().1.is_some()).await;
    assert_eq!(got.lock().unwrap().1, Some(Broken::Closed.to_string()));
    assert!(!queue.is_open());
}

#[tokio::test]
async fn whoever_writes_notices_soon_that_nobody_reads() {
    // Not read, and full at once: the write stands still.
    let (near, far) = duplex(64);
    let queue = Queue::new(Lane::Raft);
    let (began, times) = (Instant::now(), quick());
    let sending = sending::send(near, &queue, &times);
    let push = async {
        until(|| queue.is_open()).await;
        queue.push([(1, &[0; 1000][..])]);
        std::future::pending::<Broken>().await
    };
    let broken = tokio::select! { broken = sending => broken, broken = push => broken };
    assert!(matches!(broken, Broken::Silent(_)), "{broken}");
    assert!(began.elapsed() < times.silence * 4);
    assert_eq!((queue.is_open(), queue.len_bytes()), (false, 0));
    drop(far);
}

#[tokio::test]
async fn whoever_reads_forgets_one_that_says_nothing() {
    let (mut near, far) = duplex(64);
    let got = read(far);
    sending::greet(&mut near, Hello::new(Lane::Raft, 1), &quick()).await.unwrap();
    until(|| got.lock().unwrap().1.is_some()).await;
    assert_eq!(got.lock().unwrap().1, Some(Broken::Silent(quick().forgotten).to_string()));
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_link() {
    let (mut near, far) = duplex(64);
    let got = read(far);
    sending::greet(&mut near, Hello::new(Lane::Raft, 1), &quick()).await.unwrap();
    near.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    until(|| got.lock().unwrap().1.is_some()).await;
    let said = got.lock().unwrap().1.clone().unwrap();
    assert!(said.contains("none has more than"), "{said}");
}

#[tokio::test]
async fn a_link_that_is_not_wanted_is_refused_with_the_reason() {
    for reply in [Reply::Version, Reply::Stranger, Reply::Older] {
        let (mut near, mut far) = duplex(64);
        let (times, hello) = (quick(), Hello::new(Lane::Raft, 1));
        let (dialled, heard) = tokio::join!(
            sending::greet(&mut near, hello, &times),
            receiving::welcome(&mut far, |_| reply, &times)
        );
        assert!(matches!(dialled, Err(Broken::Refused(said)) if said == reply), "{dialled:?}");
        assert!(matches!(heard, Err(Broken::Refused(said)) if said == reply), "{heard:?}");
    }
}

#[tokio::test]
async fn whoever_is_no_node_is_told_nothing_and_not_waited_for() {
    let (mut near, far) = duplex(64);
    let got = read(far);
    near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    until(|| got.lock().unwrap().1.is_some()).await;
    assert_eq!(got.lock().unwrap().1, Some(Broken::Refused(Reply::Foreign).to_string()));

    let (_near, mut far) = duplex(64);
    let times = Times { hello: Duration::from_millis(50), ..Times::default() };
    let heard = receiving::welcome(&mut far, |_| Reply::Welcome, &times).await;
    assert!(matches!(heard, Err(Broken::Silent(_))), "{heard:?}");
}
