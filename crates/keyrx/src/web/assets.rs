//! The files of the page, which are in the program. They say nothing of this machine.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// One of them.
pub struct Asset {
    pub path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const fn asset(path: &'static str, kind: &'static str, content: &'static [u8]) -> Asset {
    Asset { path, kind, content }
}

pub const ASSETS: &[Asset] = &[
    asset("/", "text/html; charset=utf-8", include_bytes!("../../../../ui/index.html")),
    asset("/keyrx.js", "text/javascript; charset=utf-8", include_bytes!("../../../../ui/keyrx.js")),
    asset("/keyrx.css", "text/css; charset=utf-8", include_bytes!("../../../../ui/keyrx.css")),
    // Browsers ask for it by themselves.
    asset("/favicon.ico", "image/x-icon", include_bytes!("../../resources/keyrx.ico")),
];

impl Asset {
    pub fn answer(&self) -> Response {
        ([(CONTENT_TYPE, self.kind)], self.content).into_response()
    }
}
