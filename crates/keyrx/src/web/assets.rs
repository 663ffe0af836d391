//! The files of the page, which are in the program. They say nothing of this machine.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// One of them.
pub struct Asset {
    pub path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const fn asset(path: &'static str, kind: &'static str, content: &'static str) -> Asset {
    Asset { path, kind, content }
}

pub const ASSETS: &[Asset] = &[
    asset("/", "text/html; charset=utf-8", include_str!("../../../../ui/index.html")),
    asset("/keyrx.js", "text/javascript; charset=utf-8", include_str!("../../../../ui/keyrx.js")),
    asset("/keyrx.css", "text/css; charset=utf-8", include_str!("../../../../ui/keyrx.css")),
];

impl Asset {
    pub fn answer(&self) -> Response {
        ([(CONTENT_TYPE, self.kind)], self.content).into_response()
    }
}
