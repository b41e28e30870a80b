//! `make install` and `make uninstall` into a folder, and the units as systemd reads them.
//!
//! In: packaging/. Out: pass or fail. The installed programs are stand-ins, since only their places and modes matter here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAMS: [&str; 8] = [
    "elevate",
    "elevatectl",
    "elevate-pages",
    "elevate-agent",
    "elevated",
    "elevate-link",
    "elevate-principals",
    "libpam_elevate.so",
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.at("built")).unwrap();
        for program in PROGRAMS {
            fs::copy("/bin/true", place.at("built").join(program)).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make(&self, target: &str) -> Output {
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        Command::new("make")
            .arg("-C")
            .arg(top())
            .args([
                "-s",
                target,
                "PREFIX=/usr",
                &set("DESTDIR", &self.at("root")),
                &set("BUILT", &self.at("built")),
            ])
            .output()
            .unwrap()
    }

    fn install(&self) {
        let output = self.make("install");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Every file and its mode, by its path below the root.
    fn files(&self) -> BTreeMap<String, u32> {
        let root = self.at("root");
        let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    found.insert(name, meta.mode() & 0o7777);
                }
            }
        }
        found
    }
}

#[test]
fn install_puts_each_file_in_its_place_and_touches_nothing_else() {
    let place = Place::new();
    place.install();
    let mut files = place.files();
    let module: Vec<String> =
        files.keys().filter(|name| name.ends_with("/pam_elevate.so")).cloned().collect();
    let [module] = module.as_slice() else { panic!("{module:?}") };
    let beside = Path::new("/").join(module).with_file_name("pam_unix.so");
    assert!(beside.exists(), "{module} is where libpam looks");
    assert_eq!(files.remove(module), Some(0o644));
    let expected = [
        ("etc/pam.d/elevate", 0o644),
        ("usr/bin/elevate", 0o755),
        ("usr/bin/elevatectl", 0o755),
        ("usr/lib/systemd/system/elevate-agent.service", 0o644),
        ("usr/lib/systemd/system/elevate-link.service", 0o644),
        ("usr/lib/systemd/system/elevated.service", 0o644),
        ("usr/lib/sysusers.d/elevate.conf", 0o644),
        ("usr/lib/tmpfiles.d/elevate.conf", 0o644),
        ("usr/libexec/elevate/elevate-link", 0o755),
        ("usr/libexec/elevate/principals", 0o755),
        ("usr/sbin/elevate-agent", 0o755),
        ("usr/sbin/elevated", 0o755),
    ];
    assert_eq!(files, expected.map(|(name, mode)| (name.to_owned(), mode)).into());
}

#[test]
fn install_needs_what_was_built_and_says_how() {
    let place = Place::new();
    fs::remove_file(place.at("built/elevated")).unwrap();
    let output = place.make("install");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("not built: ") && error.contains("hint: make release"),
        "{error}"
    );
    assert!(!place.at("root").exists());
}

#[test]
fn a_service_that_the_site_changed_survives_install_and_uninstall() {
    let place = Place::new();
    place.install();
    let service = place.at("root/etc/pam.d/elevate");
    fs::write(&service, "auth required pam_site.so\nauth required pam_elevate.so\n").unwrap();
    place.install();
    assert!(fs::read_to_string(&service).unwrap().contains("pam_site.so"));
    assert!(place.at("root/etc/pam.d/elevate.new").exists());
    assert!(place.make("uninstall").status.success());
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), ["etc/pam.d/elevate", "etc/pam.d/elevate.new"]);
}

#[test]
fn uninstall_leaves_nothing_and_refuses_on_an_enrolled_host() {
    let place = Place::new();
    place.install();
    fs::write(place.at("root/etc/pam.d/sudo"), "account required pam_elevate.so\n").unwrap();
    let output = place.make("uninstall");
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("elevate-agent unenroll"));
    fs::remove_file(place.at("root/etc/pam.d/sudo")).unwrap();
    assert!(place.make("uninstall").status.success());
    assert_eq!(place.files(), BTreeMap::new());
}

#[test]
fn systemd_reads_every_unit_without_a_complaint() {
    let place = Place::new();
    place.install();
    // verify wants the accounts, the other units that ours name, and the programs that these start.
    let root = place.at("root");
    for folder in ["/usr/lib/systemd/system", "/etc/passwd", "/etc/group"] {
        let to = root.join(folder.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied =
            Command::new("cp").args(["-rLn", "--", folder]).arg(to.parent().unwrap()).status().unwrap();
        assert!(copied.success(), "{folder}");
    }
    for name in ["elevated.service", "elevate-agent.service", "elevate-link.service"] {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(format!("--root={}", root.display()))
            .arg(root.join("usr/lib/systemd/system").join(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains(name), "{name}: {said}");
    }
}

/// Units are read-only to the world and name no place that install did not fill in.
#[test]
fn no_placeholder_is_left_in_a_unit() {
    let place = Place::new();
    place.install();
    for name in place.files().into_keys().filter(|name| name.ends_with(".service")) {
        let path = place.at("root").join(&name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains('@') || text.contains("SystemCallFilter=@") && !text.contains("dir@"),
            "{name}"
        );
        let program = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let program = place.at("root").join(program.split(' ').next().unwrap().trim_start_matches('/'));
        assert!(
            program.exists() && fs::metadata(program).unwrap().permissions().mode() & 0o111 != 0,
            "{name}"
        );
    }
}
