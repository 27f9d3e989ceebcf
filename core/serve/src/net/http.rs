//! The pages of the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};

use crate::net::App;
use crate::net::rpc::{self, Fault, code};
use crate::net::{metrics, openapi, socket};

/// All routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page).post(call))
        .route("/rpc", post(call))
        .route("/rpc/{method}", post(one))
        .route("/ws", get(socket::open))
        .route("/metrics", get(numbers))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/openapi.json", get(interface))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .with_state(app)
}

/// An answer.
pub(super) fn answer(status: StatusCode, kind: &'static str, text: impl Into<Body>) -> Response {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    // Nothing here is for caches, and pages of others may not frame it.
    let builder =
        builder.header(header::CACHE_CONTROL, "no-store").header("x-content-type-options", "nosniff");
    builder.body(text.into()).expect("a status and plain headers make an answer")
}

const JSON: &str = "application/json";

async fn call(State(app): State<Arc<App>>, request: Request) -> Response {
    let body = match body(&app, request).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    app.seen.requests.fetch_add(1, Ordering::Relaxed);
    match rpc::answer(&app, &body).await {
        Some(text) => answer(StatusCode::OK, JSON, text),
        None => answer(StatusCode::NO_CONTENT, JSON, Body::empty()),
    }
}

/// A method by its own address: parameters in, result out.
async fn one(State(app): State<Arc<App>>, Path(method): Path<String>, request: Request) -> Response {
    let body = match body(&app, request).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    app.seen.requests.fetch_add(1, Ordering::Relaxed);
    let text = String::from_utf8_lossy(&body);
    let params = match text.trim().is_empty() {
        true => Ok(Json::Null),
        false => crate::json::parse(&text).map_err(|e| Fault::new(code::PARSE, e.message())),
    };
    let result = match params {
        Ok(params) => rpc::call(&app, &method, params).await,
        Err(fault) => Err(fault),
    };
    match result {
        Ok(result) => answer(StatusCode::OK, JSON, result.to_string()),
        Err(fault) => {
            let status = match fault.code {
                code::METHOD | code::JOB | code::PLUGIN => StatusCode::NOT_FOUND,
                code::BUSY => StatusCode::SERVICE_UNAVAILABLE,
                code::REFUSED => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            let error = json!({ "code": fault.code, "message": fault.message, "data": fault.data });
            answer(status, JSON, json!({ "error": error }).to_string())
        }
    }
}

/// The body of a request, if it is not too large and comes in time.
async fn body(app: &App, request: Request) -> Result<Bytes, Box<Response>> {
    let most = app.options.body;
    let refuse = |status, why: String| {
        app.seen.refused.fetch_add(1, Ordering::Relaxed);
        let mut refused = answer(status, JSON, rpc::refusal(code::REFUSED, &why));
        // What is left of the body is not read: the connection cannot go on.
        refused.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        Err(Box::new(refused))
    };
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        let length = length.unwrap_or_default();
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request of {length} bytes, wanted at most {most}"),
        );
    }
    match tokio::time::timeout(app.options.patience, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => match length {
            None => {
                refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("a request of more than {most} bytes: {error}"))
            }
            Some(_) => refuse(StatusCode::BAD_REQUEST, format!("the request broke off: {error}")),
        },
        Err(_) => {
            let seconds = app.options.patience.as_secs_f64();
            refuse(StatusCode::REQUEST_TIMEOUT, format!("the request did not come within {seconds} s"))
        }
    }
}

async fn numbers(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::text(&app))
}

async fn health() -> Response {
    answer(StatusCode::OK, JSON, r#"{"status":"ok"}"#)
}

/// Whether jobs are accepted and will run.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let numbers = app.jobs.numbers();
    let why = if numbers.closing {
        Some("the server is closing")
    } else if numbers.store_failing {
        Some("the disk takes no jobs")
    } else if numbers.waiting >= app.jobs.config().queue {
        Some("the queue is full")
    } else {
        None
    };
    match why {
        None => answer(StatusCode::OK, JSON, r#"{"status":"ready"}"#),
        Some(why) => {
            let text = json!({ "status": "not ready", "why": why }).to_string();
            answer(StatusCode::SERVICE_UNAVAILABLE, JSON, text)
        }
    }
}

async fn interface() -> Response {
    answer(StatusCode::OK, JSON, openapi::json().to_string())
}

async fn page() -> Response {
    let mut page = answer(StatusCode::OK, "text/html; charset=utf-8", openapi::html());
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let policy = header::HeaderValue::from_static(policy);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    page
}

async fn nothing() -> Response {
    let why = "no such page (help: calls go to `/rpc`, `/openapi.json` describes them)";
    answer(StatusCode::NOT_FOUND, JSON, rpc::refusal(code::REQUEST, why))
}

async fn not_so() -> Response {
    let why = "not with this verb (help: calls are `POST /rpc`, pages are `GET`)";
    answer(StatusCode::METHOD_NOT_ALLOWED, JSON, rpc::refusal(code::REQUEST, why))
}
