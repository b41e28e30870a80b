//! The lines for ssh_config(5).
//!
//! In: the roles of a person, as the daemon tells them. Out: one block for each account that they open, and which account is meant where
//! none is named. No token but `%n` stands in a command, and only behind the hosts that it can be: nothing that somebody puts into an
//! address is read by a shell.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::host_ssh::HostName;
use elevate_protocol::message::view::EligibilityView;
use elevate_protocol::name::Name;

use super::super::known_hosts;

/// What stands in every block.
pub(super) struct Shown<'a> {
    /// Where this program is.
    pub(super) program: String,
    /// Where the key and the certificates are kept.
    pub(super) folder: String,
    /// Where it stands which certificates of hosts are believed.
    pub(super) hosts: known_hosts::Files<String>,
    /// What ssh logs in as where nobody says so; none: that is not known, or cannot be written.
    pub(super) account: Option<&'a str>,
}

/// All of them.
pub(super) fn lines(mine: &[EligibilityView], shown: &Shown<'_>) -> String {
    let mut text = String::from(
        "# Written by elevate ssh-config: print it anew when roles or hosts change.\n\
         # Plain ssh uses the grant that is there. Without one it says what to type.\n",
    );
    let (hosts, usual) = doors(mine);
    let names = names(mine);
    let words = |hosts: &BTreeSet<&Name>| joined(hosts, &names);
    if let Some(account) = shown.account {
        for (login, hosts) in &usual {
            text += &format!(
                "\n# Where no account is named.\nMatch originalhost {} user {account}\n    User {login}\n",
                words(hosts)
            );
        }
    }
    for (host, logins) in at_hosts(&hosts) {
        text += &format!(
            "\n# By its name, whatever address leads there.\nMatch originalhost {} user {}\n    HostKeyAlias {host}\n",
            words(&BTreeSet::from([host])),
            joined(&logins, &BTreeMap::new())
        );
    }
    let Shown { program, folder, hosts: files, .. } = shown;
    let believed: String =
        known_hosts::options(files).map(|(name, value)| format!("    {name} {value}\n")).concat();
    for (login, hosts) in &hosts {
        // What is kept is of the managed name: a host that is called otherwise as well has a block of its own.
        let (several, one): (BTreeSet<&Name>, BTreeSet<&Name>) =
            hosts.iter().partition(|host| names.contains_key(**host));
        let mut blocks: Vec<(String, &str)> =
            several.into_iter().map(|host| (words(&BTreeSet::from([host])), host.as_str())).collect();
        if !one.is_empty() {
            blocks.insert(0, (words(&one), "%n"));
        }
        for (words, host) in blocks {
            text += &format!(
                "\nMatch originalhost {words} user {login} exec \"{program} ssh-config --ready {folder} {login} {host}\"\n    \
                 IdentityFile {folder}/key\n    CertificateFile {folder}/{login}@{host}-cert.pub\n    IdentitiesOnly yes\n"
            );
        }
        // This one holds without a grant as well: nobody is asked for a password there, or whether this is the host.
        text += &format!(
            "Match originalhost {} user {login}\n    PreferredAuthentications publickey\n{believed}",
            words(hosts)
        );
    }
    // What follows in the person's file is about every host again.
    text.push_str("\nMatch all\n");
    text
}

type Doors<'a> = BTreeMap<&'a Name, BTreeSet<&'a Name>>;

/// The accounts of each host.
fn at_hosts<'a>(doors: &Doors<'a>) -> Doors<'a> {
    let mut hosts = Doors::new();
    for (login, all) in doors {
        for host in all {
            hosts.entry(*host).or_default().insert(*login);
        }
    }
    hosts
}

/// The hosts of each account; and of each account those whose first it is.
fn doors(mine: &[EligibilityView]) -> (Doors<'_>, Doors<'_>) {
    let (mut all, mut usual) = (Doors::new(), Doors::new());
    let mut met = BTreeSet::new();
    for role in mine {
        for host in &role.hosts {
            for login in &role.logins {
                all.entry(login).or_default().insert(host);
                if met.insert(host) {
                    usual.entry(login).or_default().insert(host);
                }
            }
        }
    }
    (all, usual)
}

type Names<'a> = BTreeMap<&'a Name, &'a [HostName]>;

/// What else hosts are called.
fn names(mine: &[EligibilityView]) -> Names<'_> {
    mine.iter().flat_map(|role| &role.names).map(|(host, names)| (host, names.as_slice())).collect()
}

fn joined(hosts: &BTreeSet<&Name>, names: &Names<'_>) -> String {
    let others = |host| names.get(host).into_iter().flat_map(|names| names.iter()).map(HostName::as_str);
    let all = hosts.iter().flat_map(|host| std::iter::once(host.as_str()).chain(others(*host)));
    all.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::time::Span;

    fn role(name: &str, hosts: &[&str], logins: &[&str]) -> EligibilityView {
        let names = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect();
        EligibilityView {
            role: name.parse().unwrap(),
            title: None,
            allows: String::new(),
            hosts: names(hosts),
            names: BTreeMap::new(),
            logins: names(logins),
            duration: Span::HOUR,
            max: Span::HOUR,
            reason: true,
            ticket: None,
            factor: true,
            needs: Vec::new(),
            until: None,
        }
    }

    #[test]
    fn each_account_is_asked_for_on_its_hosts_and_the_first_is_meant_where_none_is_named() {
        let mine = [role("dba", &["db2", "db1"], &["postgres", "root"]), role("web-ops", &["web1"], &[])];
        let shown = Shown {
            program: "/usr/bin/elevate".into(),
            folder: "/run/user/1/elevate".into(),
            hosts: known_hosts::Files {
                lines: "/c/known_hosts.d_7022".into(),
                revoked: "/c/revoked_hosts.d".into(),
            },
            account: Some("alice"),
        };
        let text = lines(&mine, &shown);
        let blocks: Vec<&str> = text.lines().filter(|line| line.starts_with("Match")).collect();
        let ready = "exec \"/usr/bin/elevate ssh-config --ready /run/user/1/elevate";
        assert_eq!(
            blocks,
            [
                "Match originalhost db1,db2 user alice",
                "Match originalhost db1 user postgres,root",
                "Match originalhost db2 user postgres,root",
                &format!("Match originalhost db1,db2 user postgres {ready} postgres %n\""),
                "Match originalhost db1,db2 user postgres",
                &format!("Match originalhost db1,db2 user root {ready} root %n\""),
                "Match originalhost db1,db2 user root",
                "Match all",
            ]
        );
        assert!(text.contains("    User postgres\n") && !text.contains("User root"), "{text}");
        assert!(text.contains("user postgres,root\n    HostKeyAlias db2\n"), "{text}");
        for line in ["StrictHostKeyChecking yes", "RevokedHostKeys /c/revoked_hosts.d"] {
            assert_eq!(text.matches(&format!("    {line}\n")).count(), 2, "{text}");
        }
        assert!(!text.contains("web1"), "a role without SSH: {text}");
        // A host that is called otherwise too is meant by its managed name.
        let called = BTreeMap::from([(
            "db2".parse().unwrap(),
            vec!["db2.example.org".parse().unwrap(), "10.0.0.5".parse().unwrap()],
        )]);
        let mine = [EligibilityView { names: called, ..role("dba", &["db2", "db1"], &["postgres"]) }];
        let called = lines(&mine, &shown);
        let db2 = "db2,db2.example.org,10.0.0.5";
        let blocks: Vec<&str> = called.lines().filter(|line| line.starts_with("Match")).collect();
        assert_eq!(
            blocks,
            [
                &format!("Match originalhost db1,{db2} user alice"),
                "Match originalhost db1 user postgres",
                &format!("Match originalhost {db2} user postgres"),
                &format!("Match originalhost db1 user postgres {ready} postgres %n\""),
                &format!("Match originalhost {db2} user postgres {ready} postgres db2\""),
                &format!("Match originalhost db1,{db2} user postgres"),
                "Match all",
            ]
        );
        assert!(called.contains(&format!("{db2} user postgres\n    HostKeyAlias db2\n")), "{called}");
        assert!(called.contains("CertificateFile /run/user/1/elevate/postgres@db2-cert.pub\n"), "{called}");
        let nobody = lines(&mine, &Shown { account: None, ..shown });
        assert!(!nobody.contains("    User "), "{nobody}");
        assert!(text.contains("CertificateFile /run/user/1/elevate/postgres@%n-cert.pub\n"), "{text}");
    }
}
