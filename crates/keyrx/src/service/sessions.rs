//! Which sessions of users are to have a keyrx, from what the system tells of them.
//!
//! What it tells comes late, twice or not at all, so the list of all sessions is looked at as well, now and then.

use std::collections::BTreeSet;

/// What has become of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody is there: has logged on, unlocked the screen, or come back to the console or from afar.
    Came(u32),
    LoggedOff(u32),
    /// All that there are now.
    Listed(BTreeSet<u32>),
    /// There is no user in it yet, or no more.
    Empty(u32),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Begin(u32),
    End(u32),
}

/// The sessions that have a keyrx.
#[derive(Clone, Debug, Default)]
pub struct Sessions(BTreeSet<u32>);

impl Sessions {
    pub fn step(&mut self, event: Event) -> Vec<Change> {
        match event {
            // That of the services is nobody's.
            Event::Came(0) => Vec::new(),
            Event::Came(session) => match self.0.insert(session) {
                true => vec![Change::Begin(session)],
                false => Vec::new(),
            },
            Event::LoggedOff(session) | Event::Empty(session) => match self.0.remove(&session) {
                true => vec![Change::End(session)],
                false => Vec::new(),
            },
            Event::Listed(mut all) => {
                all.remove(&0);
                let before = std::mem::replace(&mut self.0, all);
                let gone = before.difference(&self.0).map(|session| Change::End(*session));
                let new = self.0.difference(&before).map(|session| Change::Begin(*session));
                gone.chain(new).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(events: &[Event], expected: &[Change]) {
        let mut sessions = Sessions::default();
        let changes = events.iter().flat_map(|event| sessions.step(event.clone())).collect::<Vec<_>>();
        assert_eq!(changes, expected);
    }

    #[test]
    fn each_session_gets_one_keyrx_however_often_it_is_told_of() {
        use Change::{Begin, End};
        let listed = |all: &[u32]| Event::Listed(all.iter().copied().collect());
        check(&[Event::Came(1), Event::Came(1), listed(&[1]), Event::Came(1)], &[Begin(1)]);
        check(&[listed(&[0, 1, 3]), Event::Came(0)], &[Begin(1), Begin(3)]);
        check(&[Event::Came(1), Event::LoggedOff(1), Event::LoggedOff(1)], &[Begin(1), End(1)]);
        check(&[listed(&[1, 2]), listed(&[2, 3])], &[Begin(1), Begin(2), End(1), Begin(3)]);
    }

    #[test]
    fn an_empty_session_is_tried_again_when_it_is_told_of_again() {
        use Change::{Begin, End};
        let again = [Event::Came(1), Event::Empty(1), Event::Came(1)];
        check(&again, &[Begin(1), End(1), Begin(1)]);
        let listed = Event::Listed([1].into());
        check(&[listed.clone(), Event::Empty(1), listed], &[Begin(1), End(1), Begin(1)]);
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_u32..5).prop_map(Event::Came),
            (0_u32..5).prop_map(Event::LoggedOff),
            (0_u32..5).prop_map(Event::Empty),
            proptest::collection::btree_set(0_u32..5, 0..5).prop_map(Event::Listed),
        ]
    }

    proptest! {
        #[test]
        fn begin_and_end_alternate_and_the_list_is_right_in_the_end(
            events in proptest::collection::vec(event(), 0..50),
            last in proptest::collection::btree_set(1_u32..5, 0..5),
        ) {
            let mut sessions = Sessions::default();
            let mut running = BTreeSet::new();
            for event in events.into_iter().chain([Event::Listed(last.clone())]) {
                for change in sessions.step(event) {
                    match change {
                        Change::Begin(session) => prop_assert!(session != 0 && running.insert(session)),
                        Change::End(session) => prop_assert!(running.remove(&session)),
                    }
                }
            }
            prop_assert_eq!(running, last);
        }
    }
}
