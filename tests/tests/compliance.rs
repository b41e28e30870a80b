//! One suite, two sudos: every case runs on the classic sudo and on sudo-rs and has to come out the same.
//!
//! In: the staged build, the tree, sudo-rs. Out: a test for each case and sudo. Runs as: root, in test hosts.
//! `ELEVATE_TEST_RELEASE=trixie` runs it on the sudos of that release.

#[path = "compliance/changes.rs"]
mod changes;
#[path = "compliance/ends.rs"]
mod ends;
#[path = "compliance/factor.rs"]
mod factor;
#[path = "compliance/rules.rs"]
mod rules;
#[path = "compliance/site.rs"]
mod site;
#[path = "compliance/uses.rs"]
mod uses;

/// A test of each case for each sudo.
macro_rules! on_both {
    ($($folder:ident: $($case:ident)+;)+) => {$($(
        mod $case {
            #[test]
            fn on_the_classic_sudo() -> anyhow::Result<()> {
                super::$folder::$case(elevate_tests::fleet::Sudo::Classic)
            }
            #[test]
            fn on_sudo_rs() -> anyhow::Result<()> {
                super::$folder::$case(elevate_tests::fleet::Sudo::Rs)
            }
        }
    )+)+};
}

on_both! {
    rules:
        a_rule_allows_exactly_what_it_says
        run_as_is_the_one_account_of_the_role
        a_shell_is_a_shell_and_a_command_is_none
        what_is_listed_is_what_is_allowed
        only_the_file_of_the_role_can_be_edited;
    ends:
        a_rule_without_its_grant_is_refused_and_removed
        a_right_ends_with_the_agent_dead
        a_stopped_sudo_does_not_outlive_its_grant
        ordinary_rules_are_as_before_during_and_after;
    uses:
        every_use_is_an_event
        an_offer_stands_before_the_password;
    factor:
        a_code_is_asked_for_once_at_each_terminal
        without_daemon_or_agent_no_use_passes
        ctrl_c_at_the_prompt_ends_the_call;
}
