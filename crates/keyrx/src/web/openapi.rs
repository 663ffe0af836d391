//! The OpenAPI document, made from the table of routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::Server;
use super::routes::{OpenTo, ROUTES, Route};

/// `GET /api/openapi.json`
pub async fn document(State(_): State<Arc<Server>>) -> Json<Value> {
    Json(describe())
}

fn describe() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| matches!(route.open_to, OpenTo::Everybody | OpenTo::Known)) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "keyrx",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The keyrx that runs on this machine. Errors are {\"error\":{\"code\",\"message\"}}.",
        },
        "servers": [{ "url": "http://127.0.0.1:9867" }],
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "The token, or a session" },
            },
        },
        "paths": paths,
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.about,
        "responses": { "200": { "description": "it was done" } },
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if route.open_to != OpenTo::Everybody {
        fields.insert("security".into(), json!([{ "bearer": [] }]));
    }
    if route.path.contains("{name}") {
        let name = json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } });
        fields.insert("parameters".into(), json!([name]));
    }
    if let Ok(example) = serde_json::from_str::<Value>(route.takes) {
        let content = json!({ "application/json": { "schema": { "type": "object" }, "example": example } });
        fields.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_token_says_so() {
        let document = describe();
        assert!(document["paths"]["/health"]["get"]["security"].is_null());
        assert!(document["paths"]["/api/status"]["get"]["security"].is_array());
        let rename = &document["paths"]["/api/profiles/{name}/rename"]["put"];
        assert_eq!(rename["parameters"][0]["name"], "name");
        assert!(rename["requestBody"]["content"]["application/json"]["example"].is_object());
        assert!(document["paths"]["/api/chaos"].is_null());
    }
}
