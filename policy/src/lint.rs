//! Commands that open far more than they say: pagers, editors, interpreters, package managers (threat A08).
//!
//! In: an exact command or a file to edit. Out: what it opens, if it does. A warning and a mark on the role, not a
//! refusal: a role may give root on purpose, but nobody shall approve it as "one command". Spec: docs/policy.md "Lint".

use std::fmt;

use elevate_protocol::ssh::{Forward, SshPart};
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
        _ => FAMILIES
            .iter()
            .find(|(_, names)| names.split_whitespace().any(|name| name == program))
            .map(|(escape, _)| *escape)
            .or_else(|| {
                let plain = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
                VERSIONED.contains(&plain).then_some(INTERPRETER)
            }),
    }
}

/// What editing a file opens: files that decide what root runs or who root is.
pub(crate) fn edit_escape(path: &RulePath) -> Option<Escape> {
    let path = path.as_str();
    let inside = FOLDERS.iter().any(|folder| path.starts_with(folder));
    let listed = FILES.contains(&path) || base(path) == "authorized_keys" || base(path).starts_with(".bash");
    (inside || listed).then_some(TRUSTED_FILE)
}

/// Whether it is a shell as root: an account `root`, and no command forced on it.
pub(crate) fn is_root_login(part: &SshPart) -> bool {
    part.options().command.is_none() && part.logins().iter().any(|login| login.as_str() == "root")
}

/// What certificates open beyond what their role says, and what to write instead (threat E14).
pub(crate) fn ssh_escapes(part: &SshPart) -> Vec<(String, &'static str)> {
    let forwards = |what| part.options().forward.contains(&what);
    let all = [
        (
            is_root_login(part),
            "logging in as root equals a shell as root",
            "name another account and use sudo, or force a command",
        ),
        (
            forwards(Forward::Agent),
            "a forwarded agent signs for whoever is root on the host, elsewhere too",
            "leave agent out; ssh -J goes through a host without it",
        ),
        (
            forwards(Forward::X11),
            "forwarded X11 shows a host what is typed in other windows",
            "leave x11 out",
        ),
        (
            part.options().agentless,
            "on machines without agent, its certificates open these accounts wherever the export is trusted, whatever hosts says, and \
             what is open there stays open",
            "enrol the machine, or say with source where they may come from",
        ),
    ];
    all.into_iter().filter(|(is, _, _)| *is).map(|(_, what, instead)| (what.to_owned(), instead)).collect()
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Verbs that print through a pager, open an editor, or run any unit file.
fn systemctl(args: &[&str]) -> Option<Escape> {
    let verb = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or("list-units");
    if EDITING_VERBS.contains(&verb) {
        return Some(EDITOR);
    }
    let quiet = QUIET_VERBS.split_whitespace().any(|quiet| quiet == verb) || args.contains(&"--no-pager");
    (!quiet).then_some(PAGER)
}

const EDITING_VERBS: [&str; 4] = ["edit", "link", "set-environment", "import-environment"];
const QUIET_VERBS: &str = "start stop restart reload try-restart reload-or-restart try-reload-or-restart enable disable \
    mask unmask is-active is-enabled is-failed reset-failed kill reboot poweroff daemon-reload daemon-reexec";

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

/// Programs by what they open, whatever their arguments. Names without version numbers.
const FAMILIES: [(Escape, &str); 10] = [
    (READER, "less more most man pg view lv info zless bzless xzless"),
    (
        EDITOR,
        "vi vim vim.basic vim.tiny nvim nano pico emacs ed ex red joe jed mcedit mc micro rvim \
         vimdiff vipw vigr visudo crontab",
    ),
    (
        INTERPRETER,
        "sh bash dash zsh ksh mksh fish tcsh csh rbash busybox awk gawk mawk nawk sed node nodejs \
         irb expect jjs jrunscript java bc m4 octave R Rscript psql mysql mariadb sqlite gnuplot \
         sudo su doas sqlite3",
    ),
    (
        RUNNER,
        "find xargs env nice ionice nohup setsid timeout time watch parallel script screen tmux \
         byobu stdbuf taskset chroot unshare nsenter runuser setpriv capsh flock run-parts start-stop-daemon systemd-run machinectl at batch ssh scp sftp rsync ftp telnet socat nc ncat \
         tcpdump nmap ansible ansible-playbook puppet salt-call logrotate git svn hg ld.so",
    ),
    (COPIER, "cp mv dd install ln tee tar zip unzip 7z cpio ar rsync curl wget setcap debugfs"),
    (
        INSTALLER,
        "apt apt-get aptitude dpkg dnf yum rpm zypper pacman apk snap flatpak pip pipx npm yarn \
         gem cargo go make cmake composer cpan alien",
    ),
    (CONTAINERS, "docker podman nerdctl ctr crictl lxc lxd kubectl virsh buildah"),
    (DEBUGGER, "gdb strace ltrace perf bpftrace insmod modprobe kexec"),
    (
        ACCOUNTS,
        "useradd usermod adduser passwd chpasswd gpasswd groupadd groupmod chsh chfn newusers \
         ssh-copy-id update-alternatives pam-auth-update authselect elevate-agent",
    ),
    (PAGER, "loginctl timedatectl hostnamectl localectl resolvectl coredumpctl networkctl"),
];

/// Interpreters that carry their version in their name: `python3.13`.
#[rustfmt::skip]
const VERSIONED: [&str; 9] = [
    "python", "perl", "ruby", "lua", "php", "tclsh", "guile", "gawk", "luajit",
];

/// Folders whose files decide what root runs or who becomes root.
#[rustfmt::skip]
const FOLDERS: [&str; 14] = [
    "/etc/sudoers.d/", "/etc/pam.d/", "/etc/cron", "/etc/systemd/system/", "/etc/profile.d/",
    "/etc/ssh/", "/etc/elevate/", "/etc/init.d/", "/etc/ld.so.conf.d/", "/usr/lib/systemd/", "/root/",
    "/etc/security/", "/var/spool/cron/", "/etc/polkit-1/",
];

/// Files of the same kind.
#[rustfmt::skip]
const FILES: [&str; 13] = [
    "/etc/sudoers", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/crontab",
    "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/profile", "/etc/bash.bashrc", "/etc/environment",
    "/etc/nsswitch.conf", "/etc/sudo.conf",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(line: &str) -> bool {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        escape(&Command::try_from(argv).unwrap()).is_some()
    }

    /// Programs that public lists of such escapes name, by their usual place.
    #[test]
    fn a08_programs_that_open_a_shell_are_known() {
        let programs = "apt apt-get at awk bash batch busybox bzless cp cpan cpio crontab csh curl dash dd dnf docker \
            doas dpkg ed emacs env ex expect fish find flatpak flock gawk gdb gem git hg info install ionice java jjs \
            joe jrunscript ksh kubectl ld.so less logrotate ltrace lua lua5.4 luajit lxc m4 make man mawk  more \
            mv mysql nano nawk nc ncat nice nmap node nohup npm nsenter nvim pg perl perl5.36 php php8.2 pico pip \
            podman psql puppet python python3 python3.13 rbash rpm rsync ruby ruby3.1 run-parts rvim scp screen \
            script sed setpriv setsid sftp sh snap socat sqlite3 ssh start-stop-daemon stdbuf strace su sudo \
            systemd-run tar taskset tclsh tcpdump tee telnet time timeout tmux unshare useradd usermod vi view \
            vim vim.basic vimdiff vipw virsh visudo watch wget xargs xzless yum zip zsh zypper passwd chpasswd";
        let missed: Vec<&str> =
            programs.split_whitespace().filter(|name| !opens(&format!("/usr/bin/{name} x"))).collect();
        assert_eq!(missed, Vec::<&str>::new());
        assert!(programs.split_whitespace().count() > 100);
    }

    #[test]
    fn a08_verbs_and_options_decide_where_they_do() {
        for line in [
            "/usr/bin/systemctl status nginx",
            "/usr/bin/systemctl",
            "/usr/bin/systemctl edit nginx --no-pager",
            "/usr/bin/journalctl -u nginx",
            "/bin/journalctl",
        ] {
            assert!(opens(line), "{line}");
        }
        for line in [
            "/usr/bin/systemctl restart nginx.service",
            "/usr/bin/systemctl --no-pager status nginx",
            "/usr/bin/journalctl --no-pager -u nginx",
            "/usr/bin/id",
            "/usr/sbin/nginx -t",
            "/usr/bin/pg_dump orders",
        ] {
            assert!(!opens(line), "{line}");
        }
    }

    #[test]
    fn a08_files_that_decide_who_is_root_are_known() {
        let opens = |path: &str| edit_escape(&RulePath::try_from(path.to_owned()).unwrap()).is_some();
        for path in [
            "/etc/sudoers",
            "/etc/sudoers.d/x",
            "/etc/pam.d/sudo",
            "/home/a/.ssh/authorized_keys",
            "/etc/crontab",
        ] {
            assert!(opens(path), "{path}");
        }
        assert!(!opens("/var/www/maintenance.html") && !opens("/etc/nginx/nginx.conf"));
    }
}
