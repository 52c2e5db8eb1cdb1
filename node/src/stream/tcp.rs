//! TCP alone: what is written goes from where it lies to the kernel in one call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Goodbye, Stream};

impl Stream for TcpStream {
    // MQTT says it: DISCONNECT, or the end of the connection.
    const SAYS_GOODBYE: bool = false;

    #[inline]
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match slices {
            [one] => Pin::new(self).poll_write(context, one),
            several => Pin::new(self).poll_write_vectored(context, several),
        }
    }

    #[inline]
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(self).poll_read(context, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(false));
        }
        take(bytes);
        Poll::Ready(Ok(true))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        match ready!(self.poll_peek(context, &mut ReadBuf::new(&mut byte))) {
            Ok(0) | Err(_) => Poll::Ready(()),
            // A reset is known at once, whatever came before it.
            Ok(_) => match self.take_error() {
                Ok(None) => Poll::Pending,
                _ => Poll::Ready(()),
            },
        }
    }

    fn poll_goodbye(&mut self, context: &mut Context<'_>, _: Goodbye) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).await;
        let (server, _) = listener.accept().await.expect("a connection");
        (server, client.expect("it listens"))
    }

    async fn has_ended(server: &mut TcpStream) -> bool {
        let end = poll_fn(|context| Stream::poll_end(server, context));
        timeout(Duration::from_millis(300), end).await.is_ok()
    }

    #[tokio::test]
    async fn an_end_is_noticed_without_reading() {
        let (mut server, client) = pair().await;
        assert!(!has_ended(&mut server).await);
        drop(client);
        assert!(has_ended(&mut server).await);
    }

    #[tokio::test]
    async fn what_comes_before_the_end_is_still_there_to_be_read() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"last words").await.expect("it is read");
        drop(client);
        assert!(!has_ended(&mut server).await);
        let (mut scratch, mut all) = ([0; 64], Vec::new());
        let mut take = |bytes: &[u8]| all.extend_from_slice(bytes);
        let read = poll_fn(|context| Stream::poll_read(&mut server, context, &mut scratch, &mut take)).await;
        assert!(read.expect("it was not reset"));
        assert_eq!(all, b"last words");
        assert!(has_ended(&mut server).await);
    }

    #[tokio::test]
    async fn a_reset_is_noticed_behind_what_was_sent() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"last words").await.expect("it is read");
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(client);
        assert!(has_ended(&mut server).await);
    }
}
