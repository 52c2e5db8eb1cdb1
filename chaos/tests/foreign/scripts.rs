//! Clients that are libraries of other languages: a script tells their stories.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use convoy_chaos::client::Transport;
use convoy_chaos::fault::Lacking;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Place, Version};

/// All stories of a script together.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Paho,
    Gmqtt,
    MqttJs,
}

impl Library {
    /// A command that runs its script, if this machine has what that takes.
    async fn command(self) -> Result<Command, Lacking> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
        let (what, program, asked, script) = match self {
            Library::Paho => ("paho-mqtt", python(), ["-c", "import paho.mqtt"], "paho_story.py"),
            Library::Gmqtt => ("gmqtt", python(), ["-c", "import gmqtt"], "gmqtt_story.py"),
            Library::MqttJs => ("MQTT.js", "node".into(), ["-e", "require('mqtt')"], "mqttjs/story.js"),
        };
        let command = || {
            let mut command = Command::new(&program);
            if let Some(modules) = std::env::var_os("CONVOY_TEST_NODE_MODULES") {
                command.env("NODE_PATH", modules);
            }
            command.kill_on_drop(true);
            command
        };
        let lacking =
            |why: String| Lacking { what, why: format!("{why} (deploy/setup/clients installs it)") };
        let found = command().args(asked).output().await.map_err(|error| lacking(error.to_string()))?;
        if !found.status.success() {
            let said = String::from_utf8_lossy(&found.stderr);
            let why = said.lines().rfind(|line| line.contains("Error")).unwrap_or("it cannot be loaded");
            return Err(lacking(why.to_owned()));
        }
        let mut told = command();
        // No compiled script is left in the tree.
        told.env("PYTHONDONTWRITEBYTECODE", "1").arg(folder.join(script));
        Ok(told)
    }
}

fn python() -> OsString {
    std::env::var_os("CONVOY_TEST_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Tells every story that the version has. What did not go well is named in the error.
pub async fn tell(
    library: Library,
    place: &Place<'_>,
    version: Version,
) -> Result<Result<(), String>, Lacking> {
    tell_only(library, place, version, &[]).await
}

/// Tells these stories.
pub async fn tell_only(
    library: Library,
    place: &Place<'_>,
    version: Version,
    stories: &[&str],
) -> Result<Result<(), String>, Lacking> {
    let mut command = library.command().await?;
    let version = match version {
        Version::V31 => "31",
        Version::V311 => "311",
        Version::V5 => "5",
    };
    let transport = match place.transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::MutualTls => "mtls",
        Transport::WebSocket => "ws",
        Transport::SecureWebSocket => "wss",
    };
    command.args(["--port", &place.port(), "--version", version, "--transport", transport]);
    if place.transport.is_secure() {
        command.args(["--ca", &place.file(|files| &files.authority)]);
    }
    if place.transport == Transport::MutualTls {
        command.args(["--cert", &place.file(|files| &files.client)]);
        command.args(["--key", &place.file(|files| &files.client_key)]);
    }
    command.args(stories);
    let output = match timeout(LIMIT, command.output()).await {
        Err(_) => return Ok(Err(format!("not over after {LIMIT:?}"))),
        Ok(output) => output.map_err(|error| Lacking { what: "a process", why: error.to_string() })?,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(match (output.status.success(), said.trim_end().ends_with(" passed, 0 failed")) {
        (true, true) => Ok(()),
        _ => Err(format!("{}\n{}", said.trim_end(), String::from_utf8_lossy(&output.stderr))),
    })
}
