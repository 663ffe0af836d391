// The sentences of the Event Log, by their numbers: 1000 and on tell, 2000 and on warn, 3000 and on are errors. A
// number that has been used is never used for anything else. `%1` and so on are the parts that are put in.
//
// This file is a part of the program and of its build script, which makes the message table of it.

/// Number and sentence.
pub const SENTENCES: &[(u32, &str)] = &[
    (1000, "The keyrx service %1 has started (process %2)."),
    (1001, "The keyrx service has stopped: %1."),
    (1002, "The keyrx service was installed. It runs %1."),
    (1003, "The keyrx service was uninstalled."),
    (1004, "Session %1: keyrx is well again."),
    (1005, "Session %1: the keymap %2 is in use."),
    (2000, "Session %1: keyrx is %2: %3"),
    (2001, "Session %1: a keymap cannot be used, and the one before stays: %2"),
    (2002, "Session %1: the keyboard hook was lost and installed again, %2 times so far. Another program may be holding up all keys."),
    (2003, "Session %1: keyrx has died (%2) and is started again in %3 s. It is the death %4 in a row."),
    (2004, "Session %1: keyrx gave no sign of life for %2 s. It is ended and started again."),
    (2005, "Session %1: keys are slow: %2"),
    (2006, "The process %1 was not let into the pipe of the service: %2."),
    (2007, "Session %1: keyrx runs with less than it could have: %2."),
    (2008, "The health port %1 cannot be had: %2. Health is told nowhere until it can."),
    (2009, "Session %1: keyrx is not running: %2."),
    (2010, "The service ended without a word before this start. Reports of crashes: keyrx crashes list."),
    (3000, "Session %1: keyrx has died again and again and runs in safe mode: all keys pass. It leaves it when the keymap changes, or after ten minutes without a death."),
    (3001, "Session %1: keyrx has died in safe mode, too, and is not tried for ten minutes. Keys are not mapped."),
    (3002, "The file %1 is damaged. It was set aside, and keyrx goes on without it."),
    (3003, "The keyrx service cannot run: %1."),
    (3004, "The keyrx service is running already: %1."),
    (3005, "Session %1: keyrx cannot be started: %2."),
];
