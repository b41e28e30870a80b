//! Whose word counts for sshd, by its files.

use super::*;

const FOLDER: &str = "/etc/ssh/sshd_config.d";

#[test]
fn e15_the_folder_counts_only_where_sshd_reads_it_for_everybody() {
    let folder = Path::new(FOLDER);
    for main in [
        "Include /etc/ssh/sshd_config.d/*.conf\n",
        "# x\nPort 22\n  include \"/etc/ssh/sshd_config.d/*.conf\"\nMatch all\n",
        "INCLUDE=sshd_config.d/*.conf",
        "Include /etc/other/*.conf /etc/ssh/sshd_config.d/*.conf\n",
    ] {
        assert!(includes(main, folder), "{main}");
    }
    for main in [
        "",
        "#Include /etc/ssh/sshd_config.d/*.conf\n",
        "Match user bob\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        "Include /etc/ssh/sshd_config.d/*\n",
        "Include /etc/ssh/sshd_config.d/50*.conf\n",
        "IncludeX /etc/ssh/sshd_config.d/*.conf\n",
    ] {
        assert!(!includes(main, folder), "{main}");
    }
}

#[test]
fn e15_whoever_settled_it_before_is_left_alone() {
    let path = Path::new("/etc/ssh/sshd_config");
    assert_eq!(no_conflict(path, "UsePAM yes\n#TrustedUserCAKeys /x\nAuthorizedKeysFile x\n", None), Ok(()));
    for text in [
        "TrustedUserCAKeys none",
        "Port 22\n\ttrustedusercakeys=/etc/ssh/ca\n",
        "Match User bob\n  AuthorizedPrincipalsCommand /bin/x\n",
        "authorizedPrincipalsFile /etc/ssh/p/%u\n",
        "\"AuthorizedPrincipalsCommandUser\" nobody\n",
        "TrustedUser\"CAKeys\" /etc/ssh/ca\n",
        "= TrustedUserCAKeys /etc/ssh/ca\n",
    ] {
        assert!(matches!(no_conflict(path, text, None), Err(SshdError::Conflict { .. })), "{text}");
    }
}

/// What is included from elsewhere may settle it as well.
#[test]
fn e15_files_that_are_not_followed_are_a_reason_to_leave_sshd_alone() {
    let (path, folder) = (Path::new("/etc/ssh/sshd_config"), Path::new(FOLDER));
    let own = "Include /etc/ssh/sshd_config.d/*.conf\n";
    assert_eq!(no_conflict(path, &format!("{own}UsePAM yes\n{own}"), Some(folder)), Ok(()));
    for other in [
        "Include /etc/ssh/site/*.conf",
        "Include /etc/ssh/sshd_config.d/*.conf /etc/ssh/ca.conf",
        "Match User bob\n  include=/etc/ssh/bob.conf",
        "Inc\"lude\" /etc/ssh/ca.conf",
    ] {
        let text = format!("{own}{other}\n");
        assert!(matches!(no_conflict(path, &text, Some(folder)), Err(SshdError::Elsewhere { .. })), "{text}");
    }
    let found = no_conflict(path, own, None);
    let Err(SshdError::Elsewhere { place, line }) = found else { panic!("{found:?}") };
    assert_eq!(
        (place.as_str(), line.as_str()),
        ("/etc/ssh/sshd_config:1", "include /etc/ssh/sshd_config.d/*.conf")
    );
}

#[test]
fn e15_what_sshd_itself_says_of_its_files_must_leave_it_to_us() {
    let paths = Paths::below(Path::new("/"));
    let said = |values: [&str; 4]| -> String {
        OURS.iter().zip(values).map(|(word, value)| format!("{word} {value}\n")).collect()
    };
    let command = format!("{} %u %i", program().display());
    let none = said(["none"; 4]);
    assert_eq!(unsettled(&paths, &format!("port 22\n{none}"), ""), Ok(()));
    let ours = said(["/etc/elevate/trust/user_ca", &command, ACCOUNT, "none"]);
    assert_eq!(unsettled(&paths, &ours, ""), Ok(()));
    // Ours, changed behind our back or of a program that lay elsewhere, is to be put right.
    let (moved, file) = (ours.replace(ACCOUNT, "root"), "AuthorizedPrincipalsCommandUser root\n");
    assert!(unsettled(&paths, &moved, "").is_err());
    assert_eq!(unsettled(&paths, &moved, file), Ok(()));
    for other in [
        said(["/etc/ssh/ca.pub", "none", "none", "none"]),
        said(["none", "/bin/site %u", "none", "none"]),
        said(["none", "none", "none", "/etc/ssh/p/%u"]),
        format!("{none}trustedusercakeys /etc/ssh/ca.pub\n"),
        String::new(),
    ] {
        assert!(matches!(unsettled(&paths, &other, ""), Err(SshdError::Conflict { .. })), "{other}");
    }
}

#[test]
fn e15_a_host_that_knows_no_ca_opens_nothing_by_certificate() {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::below(place.path());
    assert_eq!(authority::usable(&paths), Err(SshdError::NoCa));
    std::fs::create_dir_all(&paths.trust).unwrap();
    for text in ["", "\n", "# none yet\n"] {
        std::fs::write(&paths.user_ca, text).unwrap();
        assert_eq!(authority::usable(&paths), Err(SshdError::NoCa), "{text}");
    }
    let key = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[5; 32]));
    let key = key.public_key().to_openssh().unwrap();
    std::fs::write(&paths.user_ca, format!("{key} of the test\n")).unwrap();
    assert_eq!(authority::usable(&paths), Ok(()));
}

/// Without sshd's PAM session nobody knows which connection a grant has opened (threats X-m, F12).
#[test]
fn e15_a_host_whose_connections_could_not_be_closed_opens_nothing() {
    let path = Path::new("/etc/ssh/sshd_config");
    for (text, asks) in [
        ("UsePAM yes\n", true),
        ("usepam=YES\nPAMServiceName sshd\n", true),
        ("#UsePAM yes\nPort 22\n", false),
        ("PAMServiceName sshd\n", false),
    ] {
        assert_eq!(asks_pam(path, text), Ok(asks), "{text}");
    }
    for text in
        ["UsePAM no\n", "UsePAM yes\nUse\"PAM\" no\n", "UsePAM\n", "PAMServiceName other\nUsePAM yes\n"]
    {
        assert!(matches!(asks_pam(path, text), Err(SshdError::NoPam { .. })), "{text}");
    }
}

#[test]
fn x_l_one_list_of_revoked_keys_counts_and_that_is_the_sites() {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::below(place.path());
    let folder = paths.sshd_file.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&paths.sshd_main, "Include x\n#RevokedKeys /x\n").unwrap();
    std::fs::write(&paths.sshd_file, text(&paths, Path::new("/p"), Revoked::Listed)).unwrap();
    assert_eq!((list_of_site(&paths), names_list(&paths)), (None, true));
    std::fs::write(&paths.sshd_file, text(&paths, Path::new("/p"), Revoked::NotListed)).unwrap();
    assert!(!names_list(&paths));
    std::fs::write(folder.join("50-site.txt"), "RevokedKeys /x\n").unwrap();
    assert_eq!(list_of_site(&paths), None);
    for (file, line) in [(folder.join("50-site.conf"), 2), (paths.sshd_main.clone(), 2)] {
        let before = std::fs::read(&file).unwrap_or_default();
        std::fs::write(&file, "Match User bob\n  revokedkeys=/etc/ssh/revoked\n").unwrap();
        assert_eq!(list_of_site(&paths), Some(format!("{}:{line}", file.display())));
        std::fs::write(&file, before).unwrap();
    }
}
