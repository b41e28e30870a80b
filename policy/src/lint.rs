//! Commands that open far more than they say: pagers, editors, interpreters, package managers (threat A08).
//!
//! In: an exact command or a file to edit. Out: what it opens, if it does. A warning and a mark on the role, not a
//! refusal: a role may give root on purpose, but nobody shall approve it as "one command". Spec: docs/policy.md "Lint".

use std::fmt;

use elevate_protocol::sudo::{Command, RulePath};

/// Why a command or file equals a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escape {
    why: &'static str,
    instead: &'static str,
}

impl Escape {
    /// What to write instead.
    #[must_use]
    pub fn instead(&self) -> &'static str {
        self.instead
    }
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

/// What an exact command opens beyond itself.
pub(crate) fn escape(command: &Command) -> Option<Escape> {
    let program = base(command.path().as_str());
    let args: Vec<&str> = command.args().iter().map(String::as_str).collect();
    match program {
        "systemctl" => systemctl(&args),
        "journalctl" => (!args.contains(&"--no-pager")).then_some(PAGER),
        "mount" | "umount" | "chmod" | "chown" | "setfacl" | "setcap" if args.is_empty() => None,
        _ => FAMILIES.iter().find(|(_, names)| names.contains(&program)).map(|(escape, _)| *escape).or_else(
            || {
                let plain = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
                VERSIONED.contains(&plain).then_some(INTERPRETER)
            },
        ),
    }
}

/// What editing a file opens: files that decide what root runs or who root is.
pub(crate) fn edit_escape(path: &RulePath) -> Option<Escape> {
    let path = path.as_str();
    let inside = FOLDERS.iter().any(|folder| path.starts_with(folder));
    let listed = FILES.contains(&path) || base(path) == "authorized_keys" || base(path).starts_with(".bash");
    (inside || listed).then_some(TRUSTED_FILE)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Verbs that print through a pager, open an editor, or run any unit file.
fn systemctl(args: &[&str]) -> Option<Escape> {
    let verb = args.iter().find(|arg| !arg.starts_with('-')).copied();
    match verb {
        Some("edit" | "link" | "set-environment" | "import-environment") => Some(EDITOR),
        Some(
            "start"
            | "stop"
            | "restart"
            | "reload"
            | "try-restart"
            | "reload-or-restart"
            | "daemon-reload"
            | "try-reload-or-restart"
            | "enable"
            | "disable"
            | "mask"
            | "unmask"
            | "is-active"
            | "is-enabled"
            | "is-failed"
            | "reset-failed"
            | "kill"
            | "reboot"
            | "poweroff"
            | "daemon-reexec",
        ) => None,
        Some(_) | None => (!args.contains(&"--no-pager")).then_some(PAGER),
    }
}

const PAGER: Escape =
    Escape { why: "it shows its output in a pager, which runs any command", instead: "add --no-pager" };
const READER: Escape = Escape {
    why: "it is a pager, which runs any command",
    instead: "use /usr/bin/cat with the exact file, or give read access",
};
const EDITOR: Escape =
    Escape { why: "it is an editor, which runs any command", instead: "use edit = [\"/the/file\"]" };
const INTERPRETER: Escape = Escape {
    why: "it runs any program that it is given",
    instead: "say shell = true, or name a script that root owns",
};
const RUNNER: Escape =
    Escape { why: "it runs other programs", instead: "say shell = true, or name that program itself" };
const COPIER: Escape =
    Escape { why: "it writes or reads any file", instead: "say shell = true, or use edit = [\"/the/file\"]" };
const INSTALLER: Escape =
    Escape { why: "it runs the scripts of what it installs or builds", instead: "say shell = true" };
const CONTAINERS: Escape = Escape {
    why: "it starts containers that can mount the host's files",
    instead: "say shell = true, or restart the unit that runs the container",
};
const DEBUGGER: Escape = Escape { why: "it takes over other processes", instead: "say shell = true" };
const ACCOUNTS: Escape = Escape { why: "it changes accounts, rules or keys", instead: "say shell = true" };
const TRUSTED_FILE: Escape = Escape {
    why: "who edits this file decides what root runs or who becomes root",
    instead: "say shell = true, or leave it out",
};

/// Programs by what they open. Names without version numbers.
const FAMILIES: [(Escape, &[&str]); 10] = [
    (READER, &["less", "more", "most", "man", "pg", "view", "lv", "info", "zless", "bzless", "xzless"]),
    (
        EDITOR,
        &[
            "vi",
            "vim",
            "vim.basic",
            "vim.tiny",
            "nvim",
            "nano",
            "pico",
            "emacs",
            "ed",
            "ex",
            "red",
            "joe",
            "jed",
            "mcedit",
            "mc",
            "micro",
            "rvim",
            "vimdiff",
            "vipw",
            "vigr",
            "visudo",
            "crontab",
        ],
    ),
    (
        INTERPRETER,
        &[
            "sh",
            "bash",
            "dash",
            "zsh",
            "ksh",
            "mksh",
            "fish",
            "tcsh",
            "csh",
            "rbash",
            "busybox",
            "awk",
            "gawk",
            "mawk",
            "nawk",
            "sed",
            "node",
            "nodejs",
            "irb",
            "expect",
            "jjs",
            "jrunscript",
            "java",
            "bc",
            "m4",
            "octave",
            "R",
            "Rscript",
            "psql",
            "mysql",
            "mariadb",
            "sqlite",
            "gnuplot",
            "sudo",
            "su",
            "doas",
        ],
    ),
    (
        RUNNER,
        &[
            "find",
            "xargs",
            "env",
            "nice",
            "ionice",
            "nohup",
            "setsid",
            "timeout",
            "time",
            "watch",
            "parallel",
            "script",
            "screen",
            "tmux",
            "byobu",
            "stdbuf",
            "taskset",
            "chroot",
            "unshare",
            "nsenter",
            "runuser",
            "setpriv",
            "capsh",
            "flock",
            "run-parts",
            "start-stop-daemon",
            "systemd-run",
            "machinectl",
            "at",
            "batch",
            "ssh",
            "scp",
            "sftp",
            "rsync",
            "ftp",
            "telnet",
            "socat",
            "nc",
            "ncat",
            "tcpdump",
            "nmap",
            "ansible",
            "ansible-playbook",
            "puppet",
            "salt-call",
            "logrotate",
            "service",
            "git",
            "svn",
            "hg",
        ],
    ),
    (
        COPIER,
        &[
            "cp", "mv", "dd", "install", "ln", "tee", "tar", "zip", "unzip", "7z", "cpio", "ar", "rsync",
            "curl", "wget", "chmod", "chown", "setfacl", "setcap", "mount", "umount", "truncate", "shred",
            "debugfs", "cat",
        ],
    ),
    (
        INSTALLER,
        &[
            "apt", "apt-get", "aptitude", "dpkg", "dnf", "yum", "rpm", "zypper", "pacman", "apk", "snap",
            "flatpak", "pip", "pipx", "npm", "yarn", "gem", "cargo", "go", "make", "cmake", "composer",
            "cpan", "alien",
        ],
    ),
    (
        CONTAINERS,
        &["docker", "podman", "nerdctl", "ctr", "crictl", "lxc", "lxd", "kubectl", "virsh", "buildah"],
    ),
    (DEBUGGER, &["gdb", "strace", "ltrace", "perf", "bpftrace", "insmod", "modprobe", "kexec", "ptrace"]),
    (
        ACCOUNTS,
        &[
            "useradd",
            "usermod",
            "adduser",
            "passwd",
            "chpasswd",
            "gpasswd",
            "groupadd",
            "groupmod",
            "chsh",
            "chfn",
            "newusers",
            "ssh-copy-id",
            "update-alternatives",
            "pam-auth-update",
            "authselect",
            "elevate-agent",
        ],
    ),
    (
        PAGER,
        &["loginctl", "timedatectl", "hostnamectl", "localectl", "resolvectl", "coredumpctl", "networkctl"],
    ),
];

/// Interpreters that carry their version in their name: `python3.13`.
const VERSIONED: [&str; 9] = ["python", "perl", "ruby", "lua", "php", "tclsh", "guile", "gawk", "luajit"];

/// Folders whose files decide what root runs or who becomes root.
const FOLDERS: [&str; 14] = [
    "/etc/sudoers.d/",
    "/etc/pam.d/",
    "/etc/cron",
    "/etc/systemd/system/",
    "/etc/profile.d/",
    "/etc/ssh/",
    "/etc/elevate/",
    "/etc/init.d/",
    "/etc/ld.so.conf.d/",
    "/usr/lib/systemd/",
    "/root/",
    "/etc/security/",
    "/var/spool/cron/",
    "/etc/polkit-1/",
];

/// Files of the same kind.
const FILES: [&str; 13] = [
    "/etc/sudoers",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/crontab",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/environment",
    "/etc/nsswitch.conf",
    "/etc/sudo.conf",
];
