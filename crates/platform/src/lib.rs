//! How keys come and go: real keyboards of Linux and Windows, and simulated ones.

mod handler;

pub use handler::{Event, Handler, Next};
