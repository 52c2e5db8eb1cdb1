//! The users file: one user a line, `name:password`, the password as [`super::password`] keeps it. mosquitto's password
//! file is one too. A file is taken whole or not at all.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::password::Stored;
use crate::file;

/// Of a name; as long as MQTT has it.
const NAME_BYTES: usize = u16::MAX as usize;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The password as it stands in the file.
    pub text: String,
    pub stored: Stored,
}

/// Everybody who is known.
#[derive(Clone, Debug, Default)]
pub struct Users {
    known: HashMap<String, User>,
    /// Whose password takes longest to verify: what is spent on everybody who is refused.
    dearest: Option<String>,
}

/// What is wrong with a users file.
#[derive(Debug)]
pub enum Problem {
    Io(io::Error),
    /// In this line, counted from one.
    Line(usize, String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Line(line, reason) => write!(f, "line {line}: {reason}"),
        }
    }
}

impl Users {
    pub fn read(path: &Path) -> Result<Self, Problem> {
        Self::parse(&file::read_to_string(path, file::USERS_BYTES_LIMIT).map_err(Problem::Io)?)
    }

    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut users = HashMap::new();
        // Some editors begin every file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, number) in text.lines().zip(1..) {
            let wrong = |reason: String| Problem::Line(number, reason);
            if is_no_user(line) {
                continue;
            }
            let (name, text) = line.split_once(':').ok_or_else(|| wrong("expected name:password".into()))?;
            check_name(name).map_err(wrong)?;
            let text = text.trim_end();
            let stored =
                Stored::parse(text).map_err(|reason| wrong(format!("user {name}: its password {reason}")))?;
            if users.insert(name.to_owned(), User { text: text.to_owned(), stored }).is_some() {
                return Err(wrong(format!("user {name} stands in the file twice")));
            }
        }
        let dearest = Stored::dearest(users.values().map(|user| &user.stored));
        let dearest = users.iter().find(|(_, user)| Some(&user.stored) == dearest);
        Ok(Self { dearest: dearest.map(|(name, _)| name.clone()), known: users })
    }

    pub fn get(&self, name: &str) -> Option<&User> {
        self.known.get(name)
    }

    /// Whether there are passwords that were not drawn, so that somebody may guess them.
    pub fn have_dear_ones(&self) -> bool {
        self.dearest().is_some_and(|stored| !stored.is_drawn())
    }

    /// Whether this is the password of this user. It takes as long for a wrong one as for somebody unknown.
    pub fn prove(&self, name: &str, password: &[u8]) -> bool {
        let stored = self.get(name).map(|user| &user.stored);
        let granted = stored.is_some_and(|stored| stored.verify(password));
        if !granted && let Some(dearest) = self.dearest() {
            dearest.spend_rest(stored, password);
        }
        granted
    }

    fn dearest(&self) -> Option<&Stored> {
        Some(&self.get(self.dearest.as_deref()?)?.stored)
    }

    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Users of this file that another one does not have, or with another password.
    pub fn not_in(&self, other: &Self) -> BTreeSet<String> {
        let changed = |name: &str, user: &User| other.get(name).is_none_or(|theirs| theirs.text != user.text);
        self.known.iter().filter(|(name, user)| changed(name, user)).map(|(name, _)| name.clone()).collect()
    }
}

/// Empty, or a remark.
pub fn is_no_user(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// What is wrong with the name of a user.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err("a user name has 1 to 65,535 bytes".to_owned());
    }
    if name.contains(':') || name.contains(char::is_control) || name.starts_with('#') || name.trim() != name {
        return Err(format!(
            "{name:?} cannot be a user name: no colon, no control character, no space around it"
        ));
    }
    Ok(())
}

/// Writes a file that only its owner may read: aside, synced, renamed, and its folder synced. Whoever reads sees the old
/// one or the new one.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut aside = name.to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    let aside = folder.join(aside);
    let written = (|| {
        let _ = fs::remove_file(&aside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if let Ok(old) = fs::metadata(path) {
            keep_owner(&file, &old);
        }
        fs::rename(&aside, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

/// An administrator who writes the file must not lock the broker out, which may run as another user.
fn keep_owner(file: &fs::File, old: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;
    let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password;
    use std::os::unix::fs::PermissionsExt;

    fn line(name: &str, secret: &str) -> String {
        format!("{name}:{}\n", password::hash_drawn(secret.as_bytes(), &[1; 16]))
    }

    #[test]
    fn a_file_names_its_users_and_remarks_are_none() {
        let text = format!("# the fleet\n\n{}{}", line("ann", "a"), line("bob smith", "b"));
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users.get("ann").unwrap().stored.verify(b"a"));
        assert!(users.get("bob smith").unwrap().stored.verify(b"b") && users.get("bob").is_none());
    }

    #[test]
    fn a_mark_of_the_encoding_and_indented_remarks_are_nobody() {
        let text = format!("\u{feff}{}  # the fleet\n\t#{}", line("ann", "a"), line("bob", "b"));
        let users = Users::parse(&text).unwrap();
        assert!(users.len() == 1 && users.get("ann").is_some());
        assert_eq!(Users::parse("\u{feff}# the fleet\n").unwrap().len(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let good = line("ann", "a");
        for (bad, said) in [
            ("ann\n".to_owned(), "line 2: expected name:password"),
            (":$7$\n".to_owned(), "line 2: a user name has"),
            ("bob:secret\n".to_owned(), "line 2: user bob: its password is neither"),
            (good.clone(), "line 2: user ann stands in the file twice"),
        ] {
            let problem = Users::parse(&format!("{good}{bad}")).unwrap_err().to_string();
            assert!(problem.starts_with(said), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn who_is_gone_or_has_another_password_is_found() {
        let old = Users::parse(&[line("ann", "a"), line("bob", "b"), line("cat", "c")].concat()).unwrap();
        let new = Users::parse(&[line("ann", "a"), line("bob", "x"), line("dan", "d")].concat()).unwrap();
        assert_eq!(old.not_in(&new), BTreeSet::from(["bob".to_owned(), "cat".to_owned()]));
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("none/users"), "x").is_err());
    }
}
