//! What can go wrong with keyboards, in words that say what to do about it.

use std::io;
use std::path::PathBuf;

/// Why keyboards cannot be read, or keys not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We may not send keys.
    #[error(
        "no permission to write to {}, through which keyrx sends keys.\n\
         Give it to the group `input`, join that group, then log out and in again:\n  \
         echo 'KERNEL==\"uinput\", SUBSYSTEM==\"misc\", GROUP=\"input\", MODE=\"0660\", \
         OPTIONS+=\"static_node=uinput\"' | sudo tee /etc/udev/rules.d/70-keyrx.rules\n  \
         sudo udevadm control --reload && sudo udevadm trigger --name-match=uinput\n  \
         sudo usermod -aG input \"$USER\"\n\
         (Every program of a member of that group can read the keyboard. The system service needs none of this.)",
        .0.display()
    )]
    OutputForbidden(PathBuf),

    /// The system cannot send keys for us.
    #[error(
        "{} does not exist, through which keyrx sends keys: the kernel module `uinput` is not loaded.\n\
         Load it now and at every start of the system:\n  \
         sudo modprobe uinput\n  \
         echo uinput | sudo tee /etc/modules-load.d/keyrx.conf",
        .0.display()
    )]
    OutputMissing(PathBuf),

    /// Keys could not be sent any more. The keyboards have been let go.
    #[error("keys can no longer be sent; the keyboards have been let go")]
    OutputFailed(#[source] io::Error),

    /// We may not read a keyboard.
    #[error(
        "no permission to read and write {}, the keyboard \"{name}\".\n\
         Join the group that owns it (`input` unless your system says otherwise), then log out and in again:\n  \
         sudo usermod -aG input \"$USER\"\n\
         (Every program of a member of that group can read the keyboard. The system service needs none of this.)",
        .node.display()
    )]
    KeyboardForbidden {
        /// Its device file.
        node: PathBuf,
        /// Its name.
        name: String,
    },

    /// Another program has taken a keyboard for itself.
    #[error(
        "another program reads the keyboard \"{name}\" ({}) for itself alone; is another remapper running?",
        .node.display()
    )]
    KeyboardTaken {
        /// Its device file.
        node: PathBuf,
        /// Its name.
        name: String,
    },

    /// The system gives us no keys.
    #[error("the keyboard hook cannot be put in, without which keyrx sees no key")]
    Hook(#[source] io::Error),

    /// The handler failed again and again. No key is touched any more.
    #[error("an internal error came up again and again; no key is mapped any more")]
    HandlerFailed,

    /// There is no icon beside the clock.
    #[error("no icon can be shown in the tray")]
    Tray(#[source] io::Error),

    /// The system refused something that ought to work.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The handler of a simulated platform asked for one deadline after the other, without end.
    #[error("the deadlines have no end")]
    EndlessDeadlines,
}

impl Error {
    /// Whether a right, or the module that gives it a use, is missing: nothing is broken, and the message says how to get it.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Error::OutputForbidden(_) | Error::OutputMissing(_) | Error::KeyboardForbidden { .. })
    }
}
