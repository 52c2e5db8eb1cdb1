//! Calls: a node asks a member for something and hears one answer. A node that joins calls so, and a member that has a command
//! for the meta group, which another one leads.

use convoy_actors::meta::{Entrant, FleetId, TokenHash};
use convoy_peer::door::CALL;
use convoy_storage::record::{self, BorrowDecode, Decode, Encode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Of calls. Both sides say it.
const VERSION: u8 = 1;

/// Bytes of a question or an answer: a fleet of a thousand members in it.
const BYTES: u32 = 8 << 20;

/// From the connection to the answer.
pub const TAKES: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Ask {
    /// A node wants to be a member.
    Join { entrant: Entrant, fleet: FleetId, slots: u16, token: TokenHash },
    /// A member has a command for the meta group.
    Order { command: Vec<u8> },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Answer {
    /// The node is a member.
    Welcome(Box<Welcome>),
    /// The command is on its way.
    Done,
    /// Another node leads the meta group.
    NotLeader,
    /// Nothing was changed, and asking again changes nothing.
    Refused(String),
    /// It may have come to nothing: ask again.
    Later(String),
}

/// What a node needs that has joined.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Welcome {
    pub authority: Vec<u8>,
    pub key: Vec<u8>,
    pub founders: Vec<u64>,
    /// As it is known, the node included.
    pub fleet: Vec<u8>,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Welcome")
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {TAKES:?}")]
    Slow,
    #[error(
        "the other side speaks version {0} of calls, and this node version {VERSION}; upgrade the older one of the two"
    )]
    Version(u8),
    #[error("what came makes no sense: {0}")]
    Senseless(String),
}

/// Asks the member there.
pub async fn call(
    address: &str,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    ask: &Ask,
) -> Result<Answer, Error> {
    let talk = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![CALL.to_vec()];
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        write(&mut stream, ask).await?;
        read(&mut stream).await
    };
    timeout(TAKES, talk).await.unwrap_or(Err(Error::Slow))
}

/// Hears a question and answers it.
pub async fn answer<S>(mut stream: S, reply: impl AsyncFnOnce(Ask) -> Answer) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let talk = async {
        let ask = read(&mut stream).await?;
        let answer = reply(ask).await;
        write(&mut stream, &answer).await?;
        stream.shutdown().await?;
        Ok(())
    };
    timeout(TAKES, talk).await.unwrap_or(Err(Error::Slow))
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), said: &impl Encode) -> Result<(), Error> {
    let mut bytes = vec![0; 5];
    record::encode_into(said, &mut bytes);
    let length = (bytes.len() - 5) as u32;
    bytes[0] = VERSION;
    bytes[1..5].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

async fn read<T: for<'b> BorrowDecode<'b, ()>>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, Error> {
    let version = stream.read_u8().await?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let length = stream.read_u32_le().await?;
    if length > BYTES {
        return Err(Error::Senseless(format!("{length} bytes are said to follow")));
    }
    let mut bytes = Vec::new();
    // Memory is taken as bytes come, and not for what is promised.
    stream.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if bytes.len() != length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    record::decode(&bytes).map_err(|error| Error::Senseless(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_heard_and_answered() {
        let (mut near, far) = tokio::io::duplex(16);
        let ask = Ask::Order { command: vec![7; 1000] };
        let asked = ask.clone();
        let near = async {
            write(&mut near, &ask).await.unwrap();
            read::<Answer>(&mut near).await.unwrap()
        };
        let far = answer(far, async move |heard| {
            assert_eq!(heard, asked);
            Answer::Later("soon".into())
        });
        let (heard, told) = tokio::join!(near, far);
        assert_eq!((heard, told.is_ok()), (Answer::Later("soon".into()), true));
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused() {
        for (bytes, said) in [
            (&[2, 0, 0, 0, 0][..], "version 2"),
            (&[1, 255, 255, 255, 255][..], "4294967295 bytes"),
            (&[1, 9, 0, 0, 0, 1][..], "end of file"),
            (&[1, 1, 0, 0, 0, 99][..], "makes no sense"),
        ] {
            let (mut near, far) = tokio::io::duplex(16);
            near.write_all(bytes).await.unwrap();
            drop(near);
            let error = answer(far, async |_| Answer::Done).await.expect_err("it is none").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
