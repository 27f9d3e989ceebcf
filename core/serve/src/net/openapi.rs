//! What can be called, for programs and for people.

use serde_json::{Map, Value as Json, json};

use crate::net::table::{METHODS, Method};

/// The interface as OpenAPI 3.1.
pub(super) fn json() -> Json {
    let mut paths = Map::new();
    let error = json!({ "description": "What went wrong.", "content": { "application/json": {
        "schema": { "$ref": "#/components/schemas/Failure" } } } });
    for method in &METHODS {
        let done = json!({ "description": "The result.",
            "content": { "application/json": { "schema": kind(method.result) } } });
        let operation = json!({
            "operationId": method.name, "summary": method.doc,
            "requestBody": { "content": { "application/json": { "schema": parameters(method) } } },
            "responses": { "200": done, "default": error },
        });
        paths.insert(format!("/rpc/{}", method.name), json!({ "post": operation }));
    }
    let rpc = json!({ "post": {
        "operationId": "rpc", "summary": "JSON-RPC 2.0: any method, by position or by name, also in batches.",
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Request" } } } },
        "responses": { "200": { "description": "The answer." }, "204": { "description": "Notifications alone." } },
    } });
    paths.insert("/rpc".into(), rpc);
    let pages = [
        ("/ws", "The same over a WebSocket; events come as notifications."),
        ("/metrics", "Numbers for Prometheus."),
        ("/health", "Whether the server lives."),
        ("/ready", "Whether jobs are accepted and run; 503 if not."),
        ("/openapi.json", "This."),
    ];
    for (path, summary) in pages {
        let get = json!({ "summary": summary, "responses": { "200": { "description": summary } } });
        paths.insert(path.into(), json!({ "get": get }));
    }
    let names: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "isard jobs", "version": env!("CARGO_PKG_VERSION"),
                  "description": "Plugins and recipes as jobs. Every method is also a JSON-RPC method at `/rpc`." },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Request": { "type": "object", "required": ["jsonrpc", "method"], "properties": {
                    "jsonrpc": { "const": "2.0" }, "method": { "enum": names },
                    "params": { "type": ["array", "object"] }, "id": { "type": ["string", "integer", "null"] } } },
                "Failure": { "type": "object", "properties": { "error": { "type": "object", "properties": {
                    "code": { "type": "integer" }, "message": { "type": "string" }, "data": {} } } } },
            },
        },
    })
}

fn parameters(method: &Method) -> Json {
    let mut properties = Map::new();
    for param in method.params {
        let mut schema = kind(param.kind);
        schema["description"] = param.doc.into();
        properties.insert(param.name.into(), schema);
    }
    let needed: Vec<&str> = method.params.iter().filter(|p| p.needed).map(|p| p.name).collect();
    json!({ "type": "object", "properties": properties, "required": needed, "additionalProperties": false })
}

fn kind(kind: &str) -> Json {
    match kind {
        "any" => json!({}),
        one if !one.contains('|') => json!({ "type": one }),
        several => json!({ "type": several.split('|').collect::<Vec<_>>() }),
    }
}

/// The interface as a page to read.
pub(super) fn html() -> String {
    let mut rows = String::new();
    for method in &METHODS {
        let params: Vec<String> = method
            .params
            .iter()
            .map(|p| {
                format!(
                    "<b>{}</b>{} <i>{}</i>: {}",
                    p.name,
                    if p.needed { "" } else { "?" },
                    p.kind,
                    code(p.doc)
                )
            })
            .collect();
        rows += &format!(
            "<tr><td><code>{}</code><td>{}<td>{}<td><i>{}</i></tr>\n",
            method.name,
            code(method.doc),
            params.join("<br>"),
            method.result
        );
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>isard jobs</title>\n\
         <style>body{{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}\
         td{{vertical-align:top;padding:.4em;border-top:1px solid #ccc}}code{{background:#f3f3f3}}</style>\n\
         <h1>isard jobs</h1>\n\
         <p>JSON-RPC 2.0 at <code>POST /rpc</code> and over a WebSocket at <code>/ws</code>; \
         each method also at <code>POST /rpc/METHOD</code>. For programs: <a href=\"/openapi.json\">OpenAPI</a>. \
         <a href=\"/metrics\">Metrics</a>, <a href=\"/health\">health</a>, <a href=\"/ready\">readiness</a>.</p>\n\
         <table><tr><th>method<th>what it does<th>parameters<th>result</tr>\n{rows}</table></html>\n"
    )
}

/// Text with its words between backticks set as code.
fn code(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let mut parts = escaped.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        out += if i % 2 == 0 { "<code>" } else { "</code>" };
        out += part;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_stands_on_both_pages() {
        let (json, html) = (json(), html());
        for method in &METHODS {
            assert!(json["paths"].get(format!("/rpc/{}", method.name)).is_some(), "{}", method.name);
            assert!(html.contains(&format!("<code>{}</code>", method.name)), "{}", method.name);
            assert!(method.doc.ends_with('.') && method.params.iter().all(|p| p.doc.ends_with('.')));
        }
        assert_eq!(code("a `b` < c"), "a <code>b</code> &lt; c");
    }
}
