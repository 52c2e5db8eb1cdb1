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

    fn poll_goodbye(&mut self, context: &mut Context<'_>, _: Goodbye) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(context)
    }
}
