//! The sentences of the Event Log, as those make them who show the log: out of the built executable.

use keyrx_platform::native::event_log;

use super::Case;

mod table {
    include!("../../../../../crates/keyrx/src/service/event_table.rs");
}

pub const CASES: &[Case] = &[Case {
    name: "event log: the executable has a sentence for every event, with a place for each part",
    run: |scene| {
        let parts = ["one", "two", "three", "four"].map(str::to_owned);
        for (number, sentence) in table::SENTENCES {
            let severity = number / 1000;
            let id = severity << 30 | number;
            let text = event_log::format(scene.keyrx_path(), id, &parts);
            let text = text.unwrap_or_else(|error| panic!("{number}: {error}"));
            let places = parts.iter().zip(["%1", "%2", "%3", "%4"]);
            let expected =
                places.fold((*sentence).to_owned(), |text, (part, place)| text.replace(place, part));
            assert_eq!(text, expected + "\r\n", "{number}");
        }
        assert!(
            event_log::format(scene.keyrx_path(), 0x4000_0001, &parts).is_err(),
            "there is no such event"
        );
    },
}];
