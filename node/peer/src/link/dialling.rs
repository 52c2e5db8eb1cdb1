//! Keeps a link up: dials, writes, and dials again when it breaks, for as long as its queue is wanted.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::{Broken, Hello, Queue, Times, sending};

/// A link that broke is dialled again after this; each time that fails it is twice as long.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// Whom to dial.
#[derive(Clone)]
pub struct Target {
    /// A name, which is looked up each time, or an address; with a port.
    pub address: String,
    /// In the certificate of that node.
    pub name: ServerName<'static>,
    pub tls: Arc<ClientConfig>,
}

/// Dials until nothing is to be sent there any more. `tell` hears of each link that is up, and why each one ended or did not
/// come about.
pub async fn dial(
    target: &Target,
    hello: Hello,
    queue: &Queue,
    times: &Times,
    mut tell: impl FnMut(Result<(), &Broken>),
) {
    let mut again = AGAIN;
    while !queue.is_over() {
        let broken = match reach(target, hello, times).await {
            Ok(stream) => {
                tell(Ok(()));
                again = AGAIN;
                sending::send(stream, queue, times).await
            }
            Err(broken) => broken,
        };
        tell(Err(&broken));
        sleep(again).await;
        again = (again * 2).min(AGAIN_AT_MOST);
    }
}

/// A connection whose other end has said that it takes the link.
async fn reach(
    target: &Target,
    hello: Hello,
    times: &Times,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Broken> {
    let connect = async {
        let stream = TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(&target.tls)).connect(target.name.clone(), stream).await
    };
    let mut stream = timeout(times.hello, connect).await.map_err(|_| Broken::Silent(times.hello))??;
    sending::greet(&mut stream, hello, times).await?;
    Ok(stream)
}
