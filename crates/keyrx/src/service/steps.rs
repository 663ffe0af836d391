//! Changes to a machine that belong together: all are made, or none.

use std::fmt;

use anyhow::Result;

/// One change.
pub struct Step<'a> {
    /// What is done, for people.
    pub name: &'static str,
    /// Without it nothing works. A system may refuse the others, which is a warning then.
    pub is_needed: bool,
    pub make: Box<dyn FnMut() -> Result<()> + 'a>,
    /// Makes it undone. It is called only after `make` has worked.
    pub undo: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// Why the changes were not made. Its text has the whole reason in it, so that it names no source beside it.
#[derive(Debug, thiserror::Error)]
pub struct Failed {
    step: &'static str,
    pub why: anyhow::Error,
    /// What could not be undone.
    left: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:#}", self.step, self.why)?;
        self.left.iter().try_for_each(|left| write!(f, "\nit could not be undone: {left}"))
    }
}

/// Makes all changes in order. Where one fails that is needed, or any with `is_strict`, those before it are undone, the
/// last first. What was refused and is not needed.
pub fn make(mut steps: Vec<Step<'_>>, is_strict: bool) -> Result<Vec<String>, Failed> {
    let mut warnings = Vec::new();
    let mut made: Vec<usize> = Vec::new();
    for at in 0..steps.len() {
        let Some(step) = steps.get_mut(at) else { break };
        match (step.make)() {
            Ok(()) => made.push(at),
            Err(why) if step.is_needed || is_strict => {
                let name = step.name;
                let left = made.iter().rev().filter_map(|at| {
                    let step = steps.get_mut(*at)?;
                    (step.undo)().err().map(|error| format!("{}: {error:#}", step.name))
                });
                return Err(Failed { step: name, left: left.collect(), why });
            }
            Err(why) => warnings.push(format!("{}: {why:#}", step.name)),
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;
    use proptest::prelude::*;

    use super::*;

    fn step<'a>(
        done: &'a RefCell<Vec<String>>,
        name: &'static str,
        is_needed: bool,
        works: bool,
        can_be_undone: bool,
    ) -> Step<'a> {
        let make = move || {
            if !works {
                bail!("refused");
            }
            done.borrow_mut().push(format!("+{name}"));
            Ok(())
        };
        let undo = move || {
            done.borrow_mut().push(format!("-{name}"));
            if !can_be_undone {
                bail!("stuck");
            }
            Ok(())
        };
        Step { name, is_needed, make: Box::new(make), undo: Box::new(undo) }
    }

    #[test]
    fn what_fails_undoes_what_was_before_the_last_first() {
        let done = RefCell::default();
        let steps = vec![
            step(&done, "a", true, true, false),
            step(&done, "b", false, false, true),
            step(&done, "c", true, true, true),
            step(&done, "d", true, false, true),
            step(&done, "e", true, true, true),
        ];
        let failed = anyhow::Error::from(make(steps, false).unwrap_err());
        assert_eq!(format!("{failed:#}"), "d: refused\nit could not be undone: a: stuck");
        assert_eq!(done.into_inner(), ["+a", "+c", "-c", "-a"]);
    }

    #[test]
    fn what_is_refused_and_not_needed_is_a_warning_unless_all_is() {
        let done = RefCell::default();
        let steps = || vec![step(&done, "a", true, true, true), step(&done, "b", false, false, true)];
        assert_eq!(make(steps(), false).unwrap(), ["b: refused"]);
        assert_eq!(make(steps(), true).unwrap_err().to_string(), "b: refused");
        assert_eq!(done.into_inner(), ["+a", "+a", "-a"]);
    }

    proptest! {
        #[test]
        fn all_is_made_or_nothing_is_left(
            all in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..10),
            is_strict in any::<bool>(),
        ) {
            const NAMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
            let done = RefCell::default();
            let steps = all.iter().zip(NAMES).map(|((needed, works), name)| step(&done, name, *needed, *works, true));
            let is_made = make(steps.collect(), is_strict).is_ok();
            let mut left = Vec::new();
            for act in done.into_inner() {
                match act.split_at(1) {
                    ("+", name) => left.push(name.to_owned()),
                    (_, name) => prop_assert_eq!(left.pop(), Some(name.to_owned())),
                }
            }
            prop_assert_eq!(is_made, !all.iter().any(|(needed, works)| !works && (*needed || is_strict)));
            prop_assert!(is_made || left.is_empty());
        }
    }
}
