//! The test bed itself: hosts are what the other suites take them for.
//!
//! In: the built bed and its tree. Out: proof that hosts are apart, real, and leave nothing.
//! Runs as: root. Spec: tests/README.md.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use elevate_tests::{Access, Host, HostSpec, Lab, PATIENCE, Running, eventually, places};

const ID: [&str; 4] = ["sudo", "-n", "/usr/bin/id", "-un"];

#[test]
fn a_host_has_its_own_etc_users_name_and_address() -> Result<()> {
    let lab = Lab::new()?;
    let (web1, db1) = (lab.host("web1")?, lab.host("db1")?);
    web1.add_user("alice", 2000)?;
    web1.write("/etc/only-here", "web1\n")?;

    assert_eq!(web1.run("alice", ["id"])?.success()?, "uid=2000(alice) gid=2000(alice) groups=2000(alice)\n");
    let refused = db1.run("alice", ["id"])?.exits(127)?;
    assert!(refused.contains("the host has no user alice"), "{refused}");
    assert!(!db1.exists("/etc/only-here") && !PathBuf::from("/etc/only-here").exists());
    assert_eq!(web1.run("root", ["hostname"])?.success()?, "web1\n");
    assert_eq!(web1.read("/etc/hostname")?, "web1\n");
    assert_eq!(
        web1.run("root", ["getent", "hosts", "db1"])?.success()?,
        format!("{:<15} db1\n", db1.address())
    );
    let addresses = db1.run("root", ["hostname", "-I"])?.success()?;
    assert_eq!(addresses.split(' ').next(), Some(db1.address().as_str()), "{addresses}");
    // Only the two processes of this very command and PID 1: nobody else's are seen.
    let pids = web1.run("root", ["ps", "-e", "-o", "comm="])?.success()?;
    assert_eq!(pids.split_whitespace().collect::<Vec<_>>(), ["exe", "ps"]);
    Ok(())
}

#[test]
fn a_host_reaches_nothing_of_the_machine() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    assert!(
        web1.run("root", ["mknod", "/tmp/disk", "b", "8", "0"])?
            .exits(1)?
            .contains("Operation not permitted")
    );
    // Not tried for real: should the drop be missing, the machine's clock would be the price.
    for status in ["/proc/self/status", "/proc/1/status"] {
        let status = web1.run("root", ["cat", status])?.success()?;
        let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("no CapBnd")?;
        let bounds = u64::from_str_radix(bounds, 16)?;
        let (module, rawio, boot, time, syslog) = (16, 17, 22, 25, 34);
        assert_eq!(
            [module, rawio, boot, time, syslog].map(|bit: u64| bounds >> bit & 1),
            [0; 5],
            "{bounds:x}"
        );
    }
    let sysctl = web1.run("root", ["sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"])?.exits(2)?;
    assert!(sysctl.contains("Read-only file system"), "{sysctl}");
    let seen = web1.run("root", ["ls", "/sys/fs/cgroup"])?.success()?;
    assert!(!seen.contains("testbed-"), "the host's cgroup is the root of all it sees: {seen}");
    // An absolute link in the host means the host's own file, also for the harness.
    web1.run("root", ["ln", "-s", "/etc/machine-id", "/tmp/link"])?.success()?;
    assert_eq!(web1.read("/tmp/link")?, web1.read("/etc/machine-id")?);
    assert_ne!(web1.read("/tmp/link")?, fs::read_to_string("/etc/machine-id").unwrap_or_default());
    Ok(())
}

#[test]
fn a_command_ends_as_it_ended() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    web1.add_user("alice", 2000)?;
    web1.run("alice", ["sh", "-c", "exit 41"])?.exits(41)?;
    assert_eq!(web1.run("alice", ["sh", "-c", "kill -9 $$"])?.status.signal(), Some(9));
    assert_eq!(web1.run("alice", ["sh", "-c", "kill -15 $$"])?.status.signal(), Some(15));
    let text = web1
        .cmd("alice", ["sh", "-c", "cat; echo $X >&2; pwd"])
        .input("in\n")
        .env("X", "x y")
        .dir("/tmp")
        .run()?;
    assert_eq!((text.stdout.as_str(), text.stderr.as_str()), ("in\n/tmp\n", "x y\n"));
    let slow =
        web1.cmd("alice", ["sleep", "1000"]).limit(Duration::from_millis(300)).run().unwrap_err().to_string();
    assert!(slow.contains("took longer than 300ms"), "{slow}");
    eventually(PATIENCE, "the late command is killed", || {
        web1.run("root", ["pgrep", "sleep"]).is_ok_and(|ran| ran.status.code() == Some(1))
    })
}

#[test]
fn a_spawned_program_is_followed_and_killed_by_its_outer_pid() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    let program = "trap 'echo hup' HUP; sleep 1000 & echo up; while :; do wait; done";
    let mut daemon = web1.spawn("root", ["sh", "-c", program])?;
    daemon.expect("up", PATIENCE)?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    assert!(status.contains("NSpid:\t") && status.contains("Name:\tsh\n"), "{status}");
    daemon.signal(1)?;
    daemon.expect("hup", PATIENCE)?;
    assert!(daemon.is_running());
    assert_eq!(daemon.kill9()?.signal(), Some(9));
    Ok(())
}

/// A key pair for alice on `from`, and her account on `to` that accepts it.
fn ssh_between(from: &Host, to: &Host) -> Result<Running> {
    from.add_user("alice", 2000)?;
    to.add_user("alice", 2000)?;
    let sshd = to.sshd()?;
    from.make_dir("/home/alice/.ssh", Access::of(2000, 0o700))?;
    let key = "/home/alice/.ssh/id_ed25519";
    from.run("alice", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])?.success()?;
    let known = format!("{} {}", to.name(), to.read("/etc/ssh/ssh_host_ed25519_key.pub")?);
    from.write_as("/home/alice/.ssh/known_hosts", known, Access::of(2000, 0o600))?;
    to.make_dir("/home/alice/.ssh", Access::of(2000, 0o700))?;
    let public = from.read(format!("{key}.pub"))?;
    to.write_as("/home/alice/.ssh/authorized_keys", public, Access::of(2000, 0o600))?;
    Ok(sshd)
}

#[test]
fn hosts_reach_each_other_by_ssh_with_a_key() -> Result<()> {
    let lab = Lab::new()?;
    let (web1, db1) = (lab.host("web1")?, lab.host("db1")?);
    let _sshd = ssh_between(&web1, &db1)?;
    let ssh = ["ssh", "-o", "BatchMode=yes", "db1", "hostname; id -un"];
    assert_eq!(web1.run("alice", ssh)?.success()?, "db1\nalice\n");
    db1.remove("/home/alice/.ssh/authorized_keys")?;
    let refused = web1.run("alice", ssh)?.exits(255)?;
    assert!(refused.contains("Permission denied (publickey"), "{refused}");
    Ok(())
}

#[test]
fn real_sudo_obeys_a_drop_in_and_refuses_without() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    web1.add_user("alice", 2000)?;
    assert_eq!(web1.run("root", ["visudo", "-c"])?.status.code(), Some(0));
    let refused = web1.run("alice", ID)?.exits(1)?;
    assert_eq!(refused, "sudo: a password is required\n");

    let rule = "alice ALL=(root) NOPASSWD: /usr/bin/id\n";
    web1.write_as("/etc/sudoers.d/g1", rule, Access::root(0o440))?;
    let before = Instant::now();
    assert_eq!(web1.run("alice", ID)?.success()?, "root\n");
    // Debian's sudo asks DNS for its own name; unknown names cost 12 s.
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    assert_eq!(
        web1.run("alice", ["sudo", "-n", "/usr/bin/true"])?.exits(1)?,
        "sudo: a password is required\n"
    );

    web1.remove("/etc/sudoers.d/g1")?;
    assert_eq!(web1.run("alice", ID)?.exits(1)?, "sudo: a password is required\n");
    Ok(())
}

#[test]
fn sudo_asks_for_the_password_on_the_hosts_own_terminal() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    web1.add_user("alice", 2000)?;
    web1.set_password("alice", "correct horse")?;
    web1.write_as("/etc/sudoers.d/g1", "alice ALL=(root) /usr/bin/id\n", Access::root(0o440))?;

    let mut tty = web1.tty("alice", ["sh", "-c", "tty; sudo /usr/bin/id -un"])?;
    tty.expect("/dev/pts/0")?;
    tty.expect("password for alice:")?;
    tty.line("wrong")?;
    tty.expect("Sorry, try again.")?;
    tty.expect("password for alice:")?;
    tty.line("correct horse")?;
    tty.expect("root\r\n")?;
    assert_eq!(tty.wait()?.code(), Some(0));
    assert!(!tty.screen().contains("horse"), "a password is not echoed: {}", tty.screen());

    web1.remove("/etc/sudoers.d/g1")?;
    let mut tty = web1.tty("alice", ["sudo", "-k", "/usr/bin/id"])?;
    tty.expect("password for alice:")?;
    tty.line("correct horse")?;
    tty.expect("alice is not in the sudoers file")?;
    assert_eq!(tty.wait()?.code(), Some(1));
    Ok(())
}

#[test]
fn ctrl_c_on_a_terminal_reaches_the_program_as_sigint() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    let mut tty = web1.tty("root", ["sh", "-c", "trap 'echo caught; exit 7' INT; echo waiting; read x"])?;
    tty.expect("waiting")?;
    tty.interrupt()?;
    tty.expect("caught")?;
    assert_eq!(tty.wait()?.code(), Some(7));
    Ok(())
}

/// Processes of the machine that are in this mount namespace.
fn members(namespace: &std::path::Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = |dir: &PathBuf| fs::read_link(dir.join("ns/mnt")).is_ok_and(|ns| ns == namespace);
    processes.map(|entry| entry.path()).filter(inside).map(|dir| dir.display().to_string()).collect()
}

#[test]
fn power_off_kills_even_what_hides_and_leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let web1 = lab.host("web1")?;
    let hidden = "setsid sh -c 'trap \"\" TERM HUP INT; exec sleep 1000' & mkdir /sys/fs/cgroup/deep && \
                  echo 0 > /sys/fs/cgroup/deep/cgroup.procs && sleep 1000 & echo started; wait";
    let daemon = web1.spawn("root", ["sh", "-c", hidden])?;
    daemon.expect("started", PATIENCE)?;
    let (pid, cgroup) = (web1.pid()?, web1.cgroup()?);
    let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
    eventually(PATIENCE, "all processes are there", || members(&namespace).len() == 4)?;
    web1.power_off()?;
    assert_eq!(members(&namespace), Vec::<String>::new());
    assert!(!cgroup.exists(), "{}", cgroup.display());
    assert!(web1.run("root", ["true"]).unwrap_err().to_string().contains("web1 is off"));
    Ok(())
}

#[test]
fn a_killed_test_takes_its_hosts_along() -> Result<()> {
    let mut harness = Command::new(places::program("testbed")?)
        .args(["shell", "web1", "sleep", "1000"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(harness.stderr.take().context("no stderr")?).read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["host", "web1", "pid", pid, "cgroup", cgroup] = words.as_slice() else { anyhow::bail!("{line}") };
    let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
    eventually(PATIENCE, "PID 1 and the command are there", || members(&namespace).len() == 2)?;
    harness.kill()?;
    harness.wait()?;
    eventually(PATIENCE, "no process is left", || members(&namespace).is_empty())?;
    eventually(PATIENCE, "no cgroup is left", || !PathBuf::from(cgroup).exists())
}

#[test]
fn a_reboot_keeps_the_disk_and_loses_run() -> Result<()> {
    let lab = Lab::new()?;
    let (web1, db1) = (lab.host("web1")?, lab.host("db1")?);
    web1.add_user("alice", 2000)?;
    web1.write("/var/lib/kept", "disk")?;
    web1.write("/run/lost", "memory")?;
    let first = web1.pid()?;
    web1.reboot()?;
    assert_ne!(web1.pid()?, first);
    assert_eq!(web1.read("/var/lib/kept")?, "disk");
    assert!(!web1.exists("/run/lost"));
    assert_eq!(web1.run("alice", ["id", "-un"])?.success()?, "alice\n");
    // Its network is back as well, with the same address.
    let _sshd = db1.sshd()?;
    let scan = web1.run("root", ["ssh-keyscan", "-t", "ed25519", "db1"])?;
    assert!(scan.stdout.contains("ssh-ed25519"), "{scan}");
    Ok(())
}

#[test]
fn a_network_cut_is_noticed_by_those_who_watch() -> Result<()> {
    let lab = Lab::new()?;
    let (web1, db1) = (lab.host("web1")?, lab.host("db1")?);
    let _sshd = ssh_between(&web1, &db1)?;
    let watch =
        ["ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "db1"];
    let mut session = web1.spawn("alice", watch.into_iter().chain(["echo in; sleep 1000"]))?;
    session.expect("in", PATIENCE)?;

    db1.network_cut()?;
    session.expect("Timeout, server db1 not responding", PATIENCE)?;
    assert_eq!(session.wait(PATIENCE)?.code(), Some(255), "{}", session.log());
    assert_eq!(db1.run("root", ["cat", "/sys/class/net/eth0/carrier"])?.success()?, "1\n");

    db1.network_down()?;
    eventually(PATIENCE, "db1 sees no carrier", || {
        db1.run("root", ["cat", "/sys/class/net/eth0/carrier"]).is_ok_and(|ran| ran.stdout == "0\n")
    })?;

    db1.network_up()?;
    let again =
        web1.run("alice", ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "db1", "hostname"])?;
    assert_eq!(again.success()?, "db1\n");
    Ok(())
}

#[test]
fn files_layers_and_binds_appear_with_their_modes() -> Result<()> {
    let build = tempfile::tempdir()?;
    let tool = build.path().join("usr/local/bin/tool");
    fs::create_dir_all(build.path().join("usr/local/bin"))?;
    fs::write(&tool, "#!/bin/sh\nid -u\n")?;
    let executable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    for dir in ["", "usr", "usr/local", "usr/local/bin", "usr/local/bin/tool"] {
        fs::set_permissions(build.path().join(dir), executable.clone())?;
    }
    let lab = Lab::new()?;
    let web1 =
        lab.host_with("web1", HostSpec::default().layer(build.path()).bind(&tool, "/opt/deep/tool"))?;
    let db1 = lab.host("db1")?;
    db1.install_tree(build.path())?;
    db1.install(&tool, "/usr/bin/set-id", Access::root(0o4755))?;
    for (host, path) in
        [(&web1, "/usr/local/bin/tool"), (&web1, "/opt/deep/tool"), (&db1, "/usr/local/bin/tool")]
    {
        host.add_user(&format!("user{}", path.len()), 2000 + u32::try_from(path.len())?)?;
        let login = format!("user{}", path.len());
        assert_eq!(host.run(&login, [path])?.success()?, format!("{}\n", 2000 + path.len()));
    }
    assert_eq!(db1.run("root", ["stat", "-c", "%a %U", "/usr/bin/set-id"])?.success()?, "4755 root\n");
    // The layer is shared and stays as it was.
    web1.write("/usr/local/bin/tool", "changed")?;
    assert_eq!(fs::read_to_string(&tool)?, "#!/bin/sh\nid -u\n");
    Ok(())
}

/// sudoers(5) NOTAFTER: the rule ends by the host's clock, in the sudo that runs then.
#[test]
fn a_host_has_its_own_wall_clock_when_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let (web1, db1) = (lab.host("web1")?, lab.host("db1")?);
    web1.add_user("alice", 2000)?;
    let clock = web1.clock()?;
    let now =
        |host: &Host| -> Result<i64> { Ok(host.run("root", ["date", "+%s"])?.success()?.trim().parse()?) };
    let stamp =
        |host: &Host| host.run("root", ["date", "-u", "-d", "+10 minutes", "+%Y%m%d%H%M%SZ"])?.success();
    let rule = format!("alice ALL=(root) NOTAFTER={} NOPASSWD: /usr/bin/id\n", stamp(&web1)?.trim());
    web1.write_as("/etc/sudoers.d/g1", rule, Access::root(0o440))?;
    assert_eq!(web1.run("alice", ID)?.success()?, "root\n");

    // bash formats its time itself: one process sees both times.
    let watcher = "printf 'before %(%s)T.\\n' -1; read go; printf 'after %(%s)T.\\n' -1";
    let mut tty = web1.tty("root", ["bash", "-c", watcher])?;
    let shown = |said: &str| -> Result<i64> {
        Ok(said.rsplit(' ').next().unwrap_or_default().trim_end_matches('.').parse()?)
    };
    let before = shown(&tty.expect(".")?)?;
    clock.advance(Duration::from_secs(3600))?;
    let (there, here) = (now(&web1)?, now(&db1)?);
    assert!((3590..=3610).contains(&(there - here)), "{there} {here}");
    tty.line("go")?;
    let after = shown(&tty.expect(".")?)?;
    assert!((3600..=3660).contains(&(after - before)), "{before} {after}");
    assert_eq!(tty.wait()?.code(), Some(0));
    assert_eq!(web1.run("alice", ID)?.exits(1)?, "sudo: a password is required\n");

    clock.turn_back(Duration::from_secs(3600))?;
    assert_eq!(clock.offset()?, 0);
    assert_eq!(web1.run("alice", ID)?.success()?, "root\n");
    Ok(())
}

/// A container's systemd needs what this init checks: to be PID 1, `container`, and files that are there before it.
#[test]
fn a_host_can_have_another_init_that_finds_its_files() -> Result<()> {
    let layer = tempfile::tempdir()?;
    let init = layer.path().join("init-of-layer");
    let script = "#!/bin/sh\n(echo \"$$ $container\"; cat /etc/hostname) > /run/seen\nexec sleep 100000\n";
    fs::write(&init, script)?;
    for path in [layer.path(), &init] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let lab = Lab::new()?;
    let web1 = lab.host_with("web1", HostSpec::default().layer(layer.path()).init("/init-of-layer"))?;
    let seen = || web1.read("/run/seen").is_ok_and(|text| text == "1 testbed\nweb1\n");
    eventually(PATIENCE, "init has found its files", seen)?;
    assert_eq!(web1.run("root", ["cat", "/proc/1/comm"])?.success()?, "sleep\n");
    Ok(())
}
