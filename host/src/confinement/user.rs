//! The user that a server runs as, and becoming that user.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{Gid, Uid};
use rustix::process::{DumpableBehavior, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::regular_file;

/// The system's users (passwd(5)).
const USERS: &str = "/etc/passwd";

/// The system's groups (group(5)).
const GROUPS: &str = "/etc/group";

/// The maximum size of these files, in bytes: a hundred thousand users.
const MAX_BYTES: u64 = 16 << 20;

/// The keys of the configuration, for messages.
const USER_KEY: &str = "server.user";
const GROUP_KEY: &str = "server.group";

/// A user with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    name: String,
    uid: u32,
    gid: u32,
    /// All groups that the user is in, with `gid`.
    groups: Vec<u32>,
}

impl User {
    /// Finds a user of this machine by name or number. `group` replaces the user's primary group.
    ///
    /// # Errors
    ///
    /// Fails if there is no such user or group.
    pub(crate) fn find(user: &str, group: Option<&str>) -> anyhow::Result<Self> {
        let read = |file: &str| {
            regular_file::read_text(Path::new(file), MAX_BYTES)
                .with_context(|| format!("{USER_KEY}: can't read {file}"))
        };
        Self::find_in(&read(USERS)?, &read(GROUPS)?, user, group)
    }

    fn find_in(users: &str, groups: &str, user: &str, group: Option<&str>) -> anyhow::Result<Self> {
        let found = users
            .lines()
            .filter_map(UserLine::parse)
            .find(|line| line.name == user || user.parse() == Ok(line.uid));
        let (name, uid, own) = match (found, user.parse()) {
            (Some(line), _) => (line.name, line.uid, Some(line.gid)),
            (None, Ok(uid)) => ("", uid, None),
            (None, Err(_)) => bail!("{USER_KEY}: there is no user {user:?} in {USERS}"),
        };
        let gid = match (group, own) {
            (Some(group), _) => find_group(groups, group)?,
            (None, Some(own)) => own,
            (None, None) => bail!("{USER_KEY}: user {uid} is not in {USERS}: set {GROUP_KEY}"),
        };
        // The highest number means "unchanged" to the kernel.
        ensure!(uid != u32::MAX, "{USER_KEY}: {uid} is no user");
        ensure!(gid != u32::MAX, "{GROUP_KEY}: {gid} is no group");
        let groups = groups.lines().filter_map(GroupLine::parse);
        let is_member = |line: &GroupLine<'_>| line.members.split(',').any(|one| one == name);
        let of_user = groups.filter(|line| !name.is_empty() && is_member(line));
        let mut groups: Vec<u32> = of_user.map(|line| line.gid).collect();
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Ok(Self {
            name: user.to_owned(),
            uid,
            gid,
            groups,
        })
    }

    /// Makes this thread, and those that it starts, run as this user, for good. Does nothing if
    /// this thread runs as it already.
    ///
    /// # Errors
    ///
    /// Fails if this process is another user's, and not root's.
    pub(crate) fn assume(&self) -> anyhow::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if geteuid() == uid && getegid() == gid {
            return Ok(());
        }
        ensure!(
            geteuid().is_root(),
            "{USER_KEY}: only root can become {self}, and this process is run by user {}: start it \
             as root, or remove the key",
            geteuid().as_raw()
        );
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups)
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .with_context(|| format!("{USER_KEY}: can't become {self}"))?;
        // The kernel would now hide the process's own files in /proc from it, such as that which
        // says which pages a guest has changed.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        let is_still_root = set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok();
        ensure!(
            uid.is_root() || !is_still_root,
            "{USER_KEY}: the process could become root again"
        );
        Ok(())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.name)
    }
}

fn find_group(groups: &str, group: &str) -> anyhow::Result<u32> {
    let mut lines = groups.lines().filter_map(GroupLine::parse);
    let found = lines.find(|line| line.name == group);
    match (found, group.parse()) {
        (Some(line), _) => Ok(line.gid),
        (None, Ok(gid)) => Ok(gid),
        (None, Err(_)) => bail!("{GROUP_KEY}: there is no group {group:?} in {GROUPS}"),
    }
}

/// `name:password:uid:gid:…`
struct UserLine<'l> {
    name: &'l str,
    uid: u32,
    gid: u32,
}

impl<'l> UserLine<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut parts = line.split(':');
        let (name, _) = (parts.next()?, parts.next()?);
        let (uid, gid) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { name, uid, gid })
    }
}

/// `name:password:gid:member,…`
struct GroupLine<'l> {
    name: &'l str,
    gid: u32,
    members: &'l str,
}

impl<'l> GroupLine<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut parts = line.split(':');
        let (name, _) = (parts.next()?, parts.next()?);
        let (gid, members) = (parts.next()?.parse().ok()?, parts.next()?);
        Some(Self { name, gid, members })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# a comment\nweb:x:33:34:Web:/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:4:adm,web\ncerts:x:7:web\nother:x:8:webb\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_its_groups() {
        let find = |user, group| User::find_in(PASSWD, GROUP, user, group);
        let web = find("web", None).expect("it is there");
        assert_eq!((web.uid, web.gid, &*web.groups), (33, 34, &[4, 7, 34][..]));
        let by_number = find("33", Some("logs")).expect("it is there");
        assert_eq!((by_number.uid, by_number.gid), (33, 4));
        assert_eq!(by_number.groups, [4, 7]);
        let unknown = find("1234", Some("99")).expect("numbers need no names");
        assert_eq!((unknown.uid, &*unknown.groups), (1234, &[99][..]));
        for (user, group, why) in [
            ("nobody-here", None, "server.user: there is no user"),
            ("", None, "server.user: there is no user"),
            ("web", Some("none"), "server.group: there is no group"),
            (
                "1234",
                None,
                "server.user: user 1234 is not in /etc/passwd: set server.group",
            ),
            (
                "4294967295",
                Some("7"),
                "server.user: 4294967295 is no user",
            ),
        ] {
            let error = find(user, group).expect_err(user).to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_thread_that_has_become_another_user_cannot_become_root_again() {
        let user = User::find("nobody", None).expect("each system has it");
        // The user belongs to a thread, so that the other tests keep theirs.
        let assumed = thread::spawn(move || {
            let assumed = user.assume();
            if assumed.is_ok() {
                assert_eq!(geteuid().as_raw(), user.uid);
                assert!(fs::read("/etc/shadow").is_err());
                user.assume().expect("it is that user already");
            }
            assumed
        });
        match (assumed.join().expect("no panic"), geteuid().is_root()) {
            (result, true) => result.expect("root can do that"),
            (result, false) => {
                let error = result.expect_err("only root can").to_string();
                assert!(
                    error.contains("only root can become user nobody"),
                    "{error}"
                );
            }
        }
    }
}
