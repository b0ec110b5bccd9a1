//! What the node says about itself in numbers, under the names of the kubelet and cadvisor: `/metrics`,
//! `/metrics/cadvisor`, `/metrics/resource`, `/metrics/probes` and `/stats/summary`.

pub mod cadvisor;
pub mod figures;
pub mod kubelet;
pub mod resource;
pub mod summary;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use wkube_base::metrics::{Text, write_process};

use self::figures::Figures;
use crate::pods::Pods;

/// What Prometheus expects of its text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the routes.
pub fn routes() -> Router<Pods> {
    Router::new()
        .route("/metrics", get(of_kubelet))
        .route(
            "/metrics/cadvisor",
            get(|State(pods): State<Pods>| async move { text(cadvisor::write(&gather(&pods))) }),
        )
        .route(
            "/metrics/resource",
            get(|State(pods): State<Pods>| async move { text(resource::write(&gather(&pods))) }),
        )
        .route("/stats/summary", get(|State(pods): State<Pods>| async move { Json(summary::of(&gather(&pods))) }))
}

async fn of_kubelet(State(pods): State<Pods>) -> impl IntoResponse {
    let mut all = kubelet::write(&gather(&pods));
    write_process(&mut all);
    text(all)
}

fn text(text: Text) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT)], text.into_string())
}

fn gather(pods: &Pods) -> Figures {
    let context = pods.context();
    let containers = context.live.usage();
    let machine = crate::stats::machine_or_sum(&containers);
    Figures::new(pods.each(), &containers, &context.vitals, machine, context.clock.now())
}

#[cfg(test)]
mod tests;
