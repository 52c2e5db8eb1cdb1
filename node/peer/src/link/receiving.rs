//! The end of a link that reads.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Broken, Frame, Hello, Reply, Times, frame, hello};
use crate::Lane;
use crate::metric;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// A sign of life; what it is does not matter.
const SIGN: [u8; 1] = [1];

/// Hears a hello, and answers it. `judge` says whether a link is wanted.
pub async fn welcome<S>(
    stream: &mut S,
    judge: impl FnOnce(Hello) -> Reply,
    times: &Times,
) -> Result<Hello, Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let talk = async {
        let mut bytes = [0; hello::BYTES];
        stream.read_exact(&mut bytes).await?;
        let heard = Hello::from_bytes(bytes);
        let reply = heard.map_or_else(|reply| reply, judge);
        stream.write_all(&[reply as u8]).await?;
        stream.flush().await?;
        match heard {
            Ok(hello) if reply == Reply::Welcome => Ok(hello),
            _ => Err(Broken::Refused(reply)),
        }
    };
    timeout(times.hello, talk).await.unwrap_or(Err(Broken::Silent(times.hello)))
}

/// Reads frames until the link breaks. `take` is given all that have come at once, and does not wait. `limit`: of the bytes in
/// a frame.
pub async fn receive<S>(
    stream: S,
    lane: Lane,
    limit: usize,
    times: &Times,
    mut take: impl FnMut(Vec<Frame>),
) -> Broken
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = split(stream);
    let received = metrics::counter!(metric::RECEIVED_BYTES, "lane" => lane.name());
    let read = async {
        let mut bytes = BytesMut::new();
        loop {
            bytes.reserve(READ_BYTES);
            let count = timeout(times.forgotten, reader.read_buf(&mut bytes))
                .await
                .map_err(|_| Broken::Silent(times.forgotten))??;
            if count == 0 {
                return Err(Broken::Closed);
            }
            received.increment(count as u64);
            let mut frames = Vec::new();
            while let Some(frame) = frame::decode(&mut bytes, limit)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                take(frames);
            }
        }
    };
    let read = async {
        let ended: Result<(), Broken> = read.await;
        ended.expect_err("it ends with an error")
    };
    let mut read = pin!(read);
    tokio::select! {
        broken = &mut read => broken,
        broken = live(&mut writer, times.sign) => broken,
    }
}

/// Says again and again that somebody reads.
async fn live(writer: &mut (impl AsyncWrite + Unpin), every: Duration) -> Broken {
    let mut signs = interval(every);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        signs.tick().await;
        let written = async {
            writer.write_all(&SIGN).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
    }
}
