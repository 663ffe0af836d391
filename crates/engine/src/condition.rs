//! Conditions: when a mapping holds.
//!
//! A condition is an AND of clauses, each an OR of literals: `when(["A", "B"])` gives two clauses of one literal,
//! `when_not(["A", "B"])` one clause of two negated literals, and nesting puts the clauses one after the other.

use alloc::vec::Vec;

use crate::action::CustomId;
use crate::key::Modifiers;
use crate::keymap::{LanguageId, LayerId};

/// An AND of clauses, each an OR of literals. No clause: always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition(pub Vec<Vec<Literal>>);

impl Condition {
    /// Holds when all of `tests` do.
    pub fn all(tests: impl IntoIterator<Item = Test>) -> Condition {
        Condition(tests.into_iter().map(|test| Vec::from([Literal { test, negated: false }])).collect())
    }

    /// Holds when `all(tests)` does not.
    pub fn not_all(tests: impl IntoIterator<Item = Test>) -> Condition {
        Condition(Vec::from([tests.into_iter().map(|test| Literal { test, negated: true }).collect()]))
    }

    /// Holds when both do.
    pub fn and(mut self, mut other: Condition) -> Condition {
        self.0.append(&mut other.0);
        self
    }
}

/// A test, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// What is looked at.
    pub test: Test,
    /// Whether it must not hold.
    pub negated: bool,
}

/// One thing that is or is not so at the time of a press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// The custom modifier is on.
    CustomModifier(CustomId),
    /// The custom lock is on.
    CustomLock(CustomId),
    /// The layer is held, toggled on or switched to.
    Layer(LayerId),
    /// One of these modifiers is down in the output, whoever holds it.
    Modifier(Modifiers),
    /// The focused window's input method is open.
    InputMethod,
    /// The focused window's keyboard layout is of this language.
    Language(LanguageId),
}
