//! Certificates that say the right thing and are not the right ones: over, too early, of another CA, for hosts.
//!
//! In: a grant in force, what ssh-keygen(1) signs. Out: sshd lets nobody in. Runs as: root, in test hosts. Threats E02, E03.

use anyhow::{Result, ensure};

use super::site::{CA, Site, grant, id};

#[test]
fn e02_e03_what_is_over_too_early_of_another_ca_or_for_hosts_opens_nothing() -> Result<()> {
    let mut site = Site::ready()?;
    site.enforced(grant(1, super::DEPLOY, 600)?)?;
    let (id, principal) = (id(1).to_string(), format!("elevate:{}", id(1)));
    // Another CA; a key that our CA has certified, as a CA; and that certificate in the place of the CA's key.
    for ca in ["/root/other", "/root/nested"] {
        site.client.run("root", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca])?.success()?;
    }
    let certify = ["ssh-keygen", "-q", "-s", CA, "-I", &id, "-n", &principal, "/root/nested.pub"];
    site.client.run("root", certify)?.success()?;
    let grant: &[&str] = &["-I", &id, "-n", &principal, "-z", "7"];
    let now: &[&str] = &["-V", "-1m:+10m"];
    for (name, words) in [
        ("over", [grant, &["-s", CA], &["-V", "-2h:-1h"]]),
        ("early", [grant, &["-s", CA], &["-V", "+1h:+2h"]]),
        ("forged", [grant, &["-s", "/root/other"], now]),
        ("nested", [grant, &["-s", "/root/nested"], now]),
        ("host", [grant, &["-s", CA, "-h"], now]),
        ("bound", [grant, &["-s", CA, "-O", "source-address=192.0.2.1"], now]),
        ("odd", [grant, &["-s", CA, "-O", "critical:unheard-of@example.com=x"], now]),
    ] {
        let key = site.signed(name, &words.concat())?;
        ensure!(!site.opens(&key, "deploy")?, "{name}");
        ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever, beside {name}");
    }
    let ours = site.signed("ours", &[grant, &["-s", CA], now].concat())?;
    ensure!(site.opens(&ours, "deploy")?, "the same, by the CA and for now");
    Ok(())
}
