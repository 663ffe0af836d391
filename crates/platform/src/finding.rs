//! What `examine` finds out about this system.

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word that programs can go by.
    pub about: &'static str,
    /// Whether it is as it should be.
    pub state: State,
    /// How it is.
    pub is: String,
    /// What that means for the user, and what there is to do.
    pub means: String,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Good,
    /// keyrx works, but not everywhere, or not alone.
    Notice,
    /// keyrx cannot work.
    Bad,
}

impl Finding {
    /// A finding.
    pub fn new(
        about: &'static str,
        state: State,
        is: impl Into<String>,
        means: impl Into<String>,
    ) -> Finding {
        Finding { about, state, is: is.into(), means: means.into() }
    }
}
