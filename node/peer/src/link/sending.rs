//! The end of a link that writes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

use super::{Broken, Hello, Queue, Reply, Times, frame};
use crate::metric;

/// Memory that a link keeps for the next burst; the rest of a larger one is given back.
const KEPT_BYTES: usize = 1 << 20;

/// Says hello, and says why if the other node does not want it.
pub async fn greet<S>(stream: &mut S, hello: Hello, times: &Times) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let talk = async {
        stream.write_all(&hello.to_bytes()).await?;
        stream.flush().await?;
        let mut reply = [0];
        stream.read_exact(&mut reply).await?;
        match Reply::from_byte(reply[0]) {
            Some(Reply::Welcome) => Ok(()),
            Some(reply) => Err(Broken::Refused(reply)),
            None => Err(Broken::NoHello),
        }
    };
    timeout(times.hello, talk).await.unwrap_or(Err(Broken::Silent(times.hello)))
}

/// Writes what comes into the queue, for as long as the other node is heard. The link has been greeted.
pub async fn send<S>(stream: S, queue: &Queue, times: &Times) -> Broken
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = split(stream);
    let open = queue.open();
    let sent = metrics::counter!(metric::SENT_BYTES, "lane" => queue.lane().name());
    let write = async {
        let mut bytes = Vec::new();
        loop {
            match timeout(times.idle, open.take(&mut bytes)).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(_) => bytes.extend_from_slice(&frame::SIGN),
            }
            writer.write_all(&bytes).await?;
            writer.flush().await?;
            sent.increment(bytes.len() as u64);
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES);
        }
    };
    tokio::select! {
        ended = write => ended.err().map_or(Broken::Ended, Broken::Io),
        broken = listen(&mut reader, times.silence) => broken,
    }
}

/// Hears signs of life until there are none.
async fn listen(reader: &mut (impl AsyncRead + Unpin), silence: Duration) -> Broken {
    let mut signs = [0; 64];
    loop {
        match timeout(silence, reader.read(&mut signs)).await {
            Ok(Ok(0)) => return Broken::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Broken::Silent(silence),
        }
    }
}
