//! Strangers who guess the password of a user, while others come with the right one.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::{Connect, Packet, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::{Attack, Ground, PLAIN};
use crate::fleet::Program;

pub(super) const ATTACK: Attack = Attack {
    name: "password guesses",
    settings: &[
        ("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000"),
        ("CONVOY_LIMITS__ADDRESSES_EXEMPT", "127.0.0.1"),
        ("CONVOY_MQTT__ALLOW_ANONYMOUS", "true"),
    ],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

/// Each address has its share.
const GUESSES: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);
const VEHICLES: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 1);
const GUESSERS: usize = 600;
/// How long a vehicle with the right password may wait to be let in.
const LOGIN_LIMIT: Duration = Duration::from_secs(2);

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    add_user(&ground, "ann", "--password-stdin")?;
    let password = add_user(&ground, "car", "--generate")?;
    let vehicle = connect_as("car", "car", password.trim().as_bytes());
    let begun = Instant::now();
    while login(&ground, VEHICLES, &vehicle).await? != 0 {
        ensure!(begun.elapsed() < Duration::from_secs(20), "a new user is not let in");
        sleep(Duration::from_millis(200)).await;
    }
    ground.begin_again(5);
    for who in 0..GUESSERS {
        let ground = ground.clone();
        tokio::spawn(async move {
            let bytes = connect_as(&format!("guess-{who}"), "ann", b"guess");
            while !ground.is_over() {
                let _ = login(&ground, GUESSES, &bytes).await;
            }
        });
    }
    // Those before it wait already.
    sleep(Duration::from_millis(500)).await;
    let (mut logins, mut longest) = (0, Duration::ZERO);
    while !ground.is_over() {
        let began = Instant::now();
        match login(&ground, VEHICLES, &vehicle).await.with_context(|| format!("after {logins} vehicles"))? {
            0 => longest = longest.max(began.elapsed()),
            code => {
                bail!("a vehicle with the right password got {code:#04x} after {logins} that were let in")
            }
        }
        logins += 1;
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(logins > 0 && longest < LOGIN_LIMIT, "{logins} vehicles were let in, one after {longest:.1?}");
    Ok(format!("{logins} vehicles let in meanwhile, after {longest:.1?} at most"))
}

/// What the command said: a password that it has drawn.
fn add_user(ground: &Ground, name: &str, how: &str) -> anyhow::Result<String> {
    let Program::Convoy(binary) = &ground.program else { bail!("only Convoy has such users") };
    let mut command = Command::new(binary);
    command.args(["ctl", "users", "add", name, how]).arg("--data").arg(&ground.data);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().context("it is piped")?;
    // Who draws a password does not read one.
    let _ = std::io::Write::write_all(&mut &stdin, b"a password that nobody guesses");
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn connect_as(client_id: &str, user: &str, password: &[u8]) -> Vec<u8> {
    let mut connect = Connect::new(ProtocolVersion::V311, client_id);
    (connect.username, connect.password) = (Some(user), Some(password));
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(ProtocolVersion::V311, &mut bytes).expect("a valid CONNECT");
    bytes
}

/// The code of the CONNACK.
async fn login(ground: &Ground, from: Ipv4Addr, connect: &[u8]) -> anyhow::Result<u8> {
    let joining = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let mut stream = socket.connect(ground.mqtt).await?;
        stream.write_all(connect).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(answer[3])
    };
    timeout(Duration::from_secs(10), joining).await.context("no CONNACK within 10 s")?
}
