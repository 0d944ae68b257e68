//! Not yet.
pub struct State {
    pub store: crate::store::Store,
    pub clock: crate::clock::Clock,
    pub notices: tokio::sync::watch::Receiver<Vec<String>>,
    pub title: String,
}
pub fn router(_state: State) -> axum::Router {
    axum::Router::new()
}
