//! How the kinds of events are written down: each once, with its code, its level and its details.
//!
//! In: the list in `kind.rs` and `claim.rs`. Out: the enum, the list of codes, code and level of each. Spec: docs/events.md.

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])* $code:literal $level:ident $variant:ident { $( $(#[doc = $fdoc:literal])* $field:ident : $type:ty ),* $(,)? } )*) => {
        /// What happened, with its details.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "code", content = "details")]
        pub enum Kind {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $code)]
                $variant { $( $(#[doc = $fdoc])* #[doc = concat!("`", stringify!($field), "` in docs/events.md.")] $field: $type ),* },
            )*
        }

        impl Kind {
            /// Every code there is.
            pub const CODES: &'static [&'static str] = &[$($code),*];

            /// The stable code: `grant.issued`.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            /// How loud it is in syslog.
            #[must_use]
            pub fn level(&self) -> Level {
                match self { $( Self::$variant { .. } => Level::$level, )* }
            }
        }
    };
}
