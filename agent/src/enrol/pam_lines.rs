//! Our lines in a PAM service, between two markers, right behind the `#%PAM-1.0` line.
//!
//! In: the text of /etc/pam.d/sudo, sudo-i or sshd. Out: the same text with or without our lines, every other byte as it was.
//! First in the file, so that nothing can pass before the gate; `module_unknown=ignore`, so that a missing module locks out nobody (X-g).

use crate::probe::{ACCOUNT_CONTROL, MODULE, SESSION_CONTROL};

/// First line of the block.
const BEGIN: &str =
    "# elevate begin: put here by `elevate-agent enroll`, taken out by `elevate-agent unenroll`\n";
/// Last line of the block.
const END: &str = "# elevate end\n";
/// What every PAM file of a distribution begins with.
const HEAD: &str = "#%PAM-1.0\n";
/// Control of the lines that never decide.
const ASIDE: &str = "[default=ignore module_unknown=ignore]";

/// Why the lines of a service are not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PamLinesError {
    /// Only one of the markers, or several blocks.
    #[error("the markers of Elevate in it are damaged; take its lines out by hand")]
    Damaged,
    /// Our module without our markers.
    #[error("it names {MODULE} outside the markers of Elevate; take that line out by hand")]
    Foreign,
}

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// sudo's: the offer, the gate, the report.
    Sudo,
    /// sshd's: the login alone.
    Sshd,
}

/// The block as it is written.
#[must_use]
pub(crate) fn block(service: Service) -> String {
    let width = ACCOUNT_CONTROL.len();
    match service {
        Service::Sudo => format!(
            "{BEGIN}auth     {ASIDE:width$}  {MODULE}\naccount  {ACCOUNT_CONTROL:width$}  {MODULE}\nsession  {ASIDE:width$}  {MODULE}\n{END}"
        ),
        Service::Sshd => format!("{BEGIN}session  {SESSION_CONTROL}  {MODULE}\n{END}"),
    }
}

/// The text without our lines.
///
/// # Errors
/// [`PamLinesError`] when it cannot be told which lines are ours.
pub(crate) fn without(text: &str) -> Result<String, PamLinesError> {
    let rest = match (text.split_once(BEGIN), text.matches(BEGIN).count(), text.matches(END).count()) {
        (None, 0, 0) => text.to_owned(),
        (Some((before, behind)), 1, 1) => {
            let (_, after) = behind.split_once(END).ok_or(PamLinesError::Damaged)?;
            format!("{before}{after}")
        }
        _ => return Err(PamLinesError::Damaged),
    };
    let named = rest.lines().any(|line| line.split('#').next().is_some_and(|line| line.contains(MODULE)));
    if named { Err(PamLinesError::Foreign) } else { Ok(rest) }
}

/// The text with our lines, once.
///
/// # Errors
/// As [`without`].
pub(crate) fn with(text: &str, service: Service) -> Result<String, PamLinesError> {
    let bare = without(text)?;
    let (head, rest) = bare.split_at(if bare.starts_with(HEAD) { HEAD.len() } else { 0 });
    Ok(format!("{head}{}{rest}", block(service)))
}

/// Whether exactly our lines stand exactly where they belong.
#[must_use]
pub(crate) fn is_in_place(text: &str, service: Service) -> bool {
    with(text, service).is_ok_and(|wanted| wanted == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe;
    use proptest::prelude::*;

    const DEBIAN: &str =
        "#%PAM-1.0\n\n# limits\nsession    required   pam_limits.so\n\n@include common-auth\n";

    #[test]
    fn our_lines_come_first_and_once() {
        let with_lines = with(DEBIAN, Service::Sudo).unwrap();
        let expected = "#%PAM-1.0\n# elevate begin: put here by `elevate-agent enroll`, taken out by `elevate-agent unenroll`\n\
             auth     [default=ignore module_unknown=ignore]                            pam_elevate.so\n\
             account  [success=ok ignore=ignore module_unknown=ignore default=die]  pam_elevate.so\n\
             session  [default=ignore module_unknown=ignore]                            pam_elevate.so\n\
             # elevate end\n\n# limits\n";
        let squeeze =
            |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert!(squeeze(&with_lines).starts_with(&squeeze(expected)), "{with_lines}");
        assert_eq!(with(&with_lines, Service::Sudo).unwrap(), with_lines);
        assert!(is_in_place(&with_lines, Service::Sudo) && !is_in_place(DEBIAN, Service::Sudo));
        assert!(!is_in_place(&with_lines.replace("default=die", "default=ignore"), Service::Sudo));
    }

    #[test]
    fn damaged_or_foreign_lines_are_left_to_a_human() {
        let text = with(DEBIAN, Service::Sudo).unwrap();
        assert_eq!(without(&text.replace(END, "")), Err(PamLinesError::Damaged));
        assert_eq!(without(&text.replace(BEGIN, "")), Err(PamLinesError::Damaged));
        assert_eq!(without(&format!("{text}{text}")), Err(PamLinesError::Damaged));
        let backwards = format!("{END}{BEGIN}");
        assert_eq!(without(&backwards), Err(PamLinesError::Damaged));
        assert_eq!(without("account required pam_elevate.so\n"), Err(PamLinesError::Foreign));
        assert_eq!(without("# about pam_elevate.so\n").unwrap(), "# about pam_elevate.so\n");
    }

    #[test]
    fn sshds_service_has_the_session_line_alone_and_first() {
        let text = with("# for sshd\n@include common-auth\n", Service::Sshd).unwrap();
        assert!(probe::has_session_gate(&text) && is_in_place(&text, Service::Sshd), "{text}");
        assert_eq!(text.matches(MODULE).count(), 1);
        assert!(!is_in_place(&text, Service::Sudo));
        assert_eq!(with(&text, Service::Sudo).unwrap().matches(MODULE).count(), 3);
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_taken_out_byte_for_byte(text in "(#%PAM-1\\.0\n)?([a-z@# =]{0,20}\n){0,8}[a-z]{0,9}") {
            for service in [Service::Sudo, Service::Sshd] {
                prop_assert_eq!(without(&with(&text, service).unwrap()).unwrap(), text.as_str());
            }
        }
    }
}
