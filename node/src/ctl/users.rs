//! `convoy ctl users`: edits the users file, also of a broker that runs, which takes it up within seconds. A password never
//! comes as an argument, which every process of the machine could read.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::DirBuilder;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::auth::password::{self, Cost};
use crate::auth::users::{self, Users};
use crate::file;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a user
    Add(New),
    /// Give a user another password; who is connected as this user is disconnected
    SetPassword(New),
    /// Remove a user; who is connected as this user is disconnected
    Remove(Named),
    /// Print the names of all users
    List(File),
    /// Say whether the file can be used, or whether a user has a certain password
    Check(Check),
}

#[derive(Debug, Args)]
pub struct File {
    /// The users file, in place of `users` in the data folder; one of mosquitto_passwd will do
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Where users are.
struct Place {
    path: PathBuf,
    /// The folder of a broker that was not started yet.
    makes_folder: bool,
}

#[derive(Debug, Args)]
pub struct Named {
    /// The user name
    name: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Args)]
pub struct New {
    /// The user name
    name: String,
    #[command(flatten)]
    file: File,
    /// Read the password from standard input instead of the terminal
    #[arg(long)]
    password_stdin: bool,
    /// Draw a password nobody can guess and print it; it costs the broker next to nothing to verify
    #[arg(long, conflicts_with = "password_stdin")]
    generate: bool,
    /// Memory that a verification takes
    #[arg(long, value_name = "KIB", default_value_t = Cost::default().memory_kib, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    memory_kib: u32,
    /// Iterations of a verification
    #[arg(long, value_name = "N", default_value_t = Cost::default().iterations, value_parser = clap::value_parser!(u32).range(1..=1000))]
    iterations: u32,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Verify the password of this user
    name: Option<String>,
    #[command(flatten)]
    file: File,
    /// Read the password from standard input instead of the terminal
    #[arg(long)]
    password_stdin: bool,
}

/// `data` is the data folder of the broker.
pub fn run(command: &Command, data: &Path) -> anyhow::Result<()> {
    match command {
        Command::Add(new) => set(new, &new.file.at(data), false),
        Command::SetPassword(new) => set(new, &new.file.at(data), true),
        Command::Remove(Named { name, file }) => {
            let file = file.at(data);
            let text = file.read()?;
            let Some(without) = with_line(&text, name, None) else { bail!("there is no user {name}") };
            file.write(&without)?;
            file.tell(name, "is gone from");
            Ok(())
        }
        Command::List(file) => {
            let text = file.at(data).read()?;
            let mut out = io::stdout().lock();
            names(&text).try_for_each(|name| writeln!(out, "{name}"))?;
            Ok(())
        }
        Command::Check(check) => {
            let file = check.file.at(data);
            let users = Users::parse(&file.read()?).map_err(|problem| file.wrong(&problem))?;
            let Some(name) = &check.name else {
                println!("the file is right; users: {}", users.len());
                return Ok(());
            };
            let Some(user) = users.get(name) else { bail!("there is no user {name}") };
            match user.stored.verify(&given(check.password_stdin, false)?) {
                true => println!("this is the password of {name}"),
                false => bail!("this is not the password of {name}"),
            }
            Ok(())
        }
    }
}

fn set(new: &New, file: &Place, exists: bool) -> anyhow::Result<()> {
    users::check_name(&new.name).map_err(anyhow::Error::msg)?;
    let text = match file.read() {
        Err(_) if !exists && !file.path.exists() => String::new(),
        text => text?,
    };
    match (names(&text).any(|name| name == new.name), exists) {
        (true, false) => bail!("there is a user {} already: set-password changes the password", new.name),
        (false, true) => bail!("there is no user {}: add makes one", new.name),
        _ => {}
    }
    let random = SystemRandom::new();
    let drawn =
        |bytes: &mut [u8]| random.fill(bytes).map_err(|_| anyhow::anyhow!("no random numbers to be had"));
    let mut salt = [0; 16];
    drawn(&mut salt)?;
    let (hash, secret) = if new.generate {
        let mut secret = [0; 24];
        drawn(&mut secret)?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        (password::hash_drawn(secret.as_bytes(), &salt), Some(secret))
    } else {
        let cost = Cost { memory_kib: new.memory_kib, iterations: new.iterations };
        let password = given(new.password_stdin, true)?;
        (password::hash(&password, &salt, cost).map_err(anyhow::Error::msg)?, None)
    };
    let line = format!("{}:{hash}", new.name);
    let text = with_line(&text, &new.name, Some(&line)).unwrap_or_else(|| {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        format!("{text}{gap}{line}\n")
    });
    file.write(&text)?;
    file.tell(&new.name, if exists { "has another password in" } else { "is in" });
    if let Some(secret) = secret {
        writeln!(io::stdout(), "{secret}")?;
    }
    Ok(())
}

impl File {
    fn at(&self, data: &Path) -> Place {
        let path = self.file.clone().unwrap_or_else(|| data.join("users"));
        Place { path, makes_folder: self.file.is_none() }
    }
}

impl Place {
    /// On stderr: stdout is for a password that was drawn.
    fn tell(&self, name: &str, what: &str) {
        eprintln!("user {name} {what} {}; a running node reads it within 2 seconds", self.path.display());
    }

    fn read(&self) -> anyhow::Result<String> {
        let path = &self.path;
        if !path.exists() {
            bail!("there is no users file {}: convoy ctl users add makes one", path.display());
        }
        let text = file::read_to_string(path, file::USERS_BYTES_LIMIT);
        let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
        // The mark that some editors begin a file with is no part of the first user's name.
        Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
    }

    /// Nothing is written that a broker would refuse.
    fn write(&self, text: &str) -> anyhow::Result<()> {
        let path = &self.path;
        Users::parse(text).map_err(|problem| self.wrong(&problem))?;
        if let Some(folder) = path.parent().filter(|folder| self.makes_folder && !folder.exists()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        users::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn wrong(&self, problem: &users::Problem) -> anyhow::Error {
        anyhow::anyhow!("{}: {problem}", self.path.display())
    }
}

fn name_of(line: &str) -> Option<&str> {
    let name = line.split_once(':').map(|(name, _)| name);
    name.filter(|_| !users::is_no_user(line))
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(name_of)
}

/// The file with the line of a user replaced, or left out. Every other line stays as it is. `None` if there is no such
/// user.
fn with_line(text: &str, name: &str, line: Option<&str>) -> Option<String> {
    if !names(text).any(|known| known == name) {
        return None;
    }
    let kept = text.lines().filter_map(|old| if name_of(old) == Some(name) { line } else { Some(old) });
    Some(kept.map(|line| format!("{line}\n")).collect())
}

/// The password that was typed or piped in.
fn given(from_stdin: bool, twice: bool) -> anyhow::Result<Vec<u8>> {
    let mut password = Vec::new();
    if from_stdin {
        io::stdin().read_to_end(&mut password)?;
        if password.ends_with(b"\n") {
            password.pop();
        }
    } else {
        if !io::stdin().is_terminal() {
            bail!("there is no terminal to ask for the password: pipe it in and say --password-stdin");
        }
        password = typed("password: ")?;
        if twice && typed("once more: ")? != password {
            bail!("the two passwords differ; nothing was changed");
        }
    }
    if password.is_empty() {
        bail!("the password is empty; nothing was changed");
    }
    Ok(password)
}

/// Reads a line that the terminal does not show.
fn typed(prompt: &str) -> anyhow::Result<Vec<u8>> {
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    eprint!("{prompt}");
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut line = Vec::new();
    let read = stdin.lock().read_until(b'\n', &mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    read?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_changed_and_the_others_stay() {
        let text = "# all of us\nann:1\n\nbob:2";
        assert_eq!(with_line(text, "ann", Some("ann:3")).unwrap(), "# all of us\nann:3\n\nbob:2\n");
        assert_eq!(with_line(text, "bob", None).unwrap(), "# all of us\nann:1\n\n");
        assert_eq!(with_line(text, "cat", None), None);
        assert_eq!(with_line(text, "# all of us", None), None);
        assert_eq!(names(text).collect::<Vec<_>>(), ["ann", "bob"]);
    }

    #[test]
    fn users_are_added_and_removed_and_never_twice() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let file = || File { file: None };
        let run = |command: &Command| run(command, &data);
        let read = || file().at(&data).read().unwrap();
        let cost = Cost::default();
        let new = |name: &str| New {
            name: name.into(),
            file: file(),
            password_stdin: false,
            generate: true,
            memory_kib: cost.memory_kib,
            iterations: cost.iterations,
        };
        run(&Command::Add(new("ann"))).unwrap();
        let before = read();
        assert!(run(&Command::Add(new("ann"))).unwrap_err().to_string().contains("already"));
        assert!(run(&Command::SetPassword(new("bob"))).unwrap_err().to_string().contains("no user"));
        assert!(run(&Command::Add(new("a:b"))).unwrap_err().to_string().contains("colon"));
        assert_eq!(read(), before);
        run(&Command::SetPassword(new("ann"))).unwrap();
        assert_ne!(read(), before);
        run(&Command::Remove(Named { name: "ann".into(), file: file() })).unwrap();
        assert_eq!(read(), "");
    }
}
