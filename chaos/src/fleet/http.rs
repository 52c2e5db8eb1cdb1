//! As much of HTTP as it takes to ask a node how it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Status and body.
pub async fn get(api: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    request(api, "GET", path, None, "").await
}

/// As [`get`], from an address of this machine that nobody else has.
pub async fn get_from_elsewhere(api: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from(Ipv4Addr::new(127, 0, 0, 9)), 0).into())?;
    in_time(async { exchange(socket.connect(api).await?, api, "GET", path, None, "").await }).await
}

/// As an operator asks: with a key, and with a body of JSON.
pub async fn request(
    api: SocketAddr,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> io::Result<(u16, String)> {
    in_time(async { exchange(TcpStream::connect(api).await?, api, method, path, key, body).await }).await
}

async fn in_time<T>(asking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_secs(20), asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn exchange(
    mut stream: TcpStream,
    api: SocketAddr,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> io::Result<(u16, String)> {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{key}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let status =
        text.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
