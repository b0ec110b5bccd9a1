//! Continue tokens: where the next page of a list starts (`apiserver/pkg/storage/continue.go`). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use wkube_api::Status;

/// Where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The first page's revision; -1 continues with whatever is newest.
    pub(crate) revision: i64,
    /// The key, relative to the collection, that the page starts at: just after the last key seen.
    pub(crate) after: String,
}

/// The wire form of [`Page`].
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Page {
    /// Returns the `continue` token.
    pub(crate) fn token(&self) -> String {
        let token = Token { v: "meta.k8s.io/v1".into(), rv: self.revision, start: format!("{}\0", self.after) };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token serializes"))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 if no server wrote it.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| bad(&error.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(bad(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.rv == 0 {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        let after = token.start.strip_suffix('\0').unwrap_or(&token.start);
        if after.is_empty() || after.split('/').any(|part| part == "..") {
            return Err(bad("encoded start key is not valid"));
        }
        Ok(Self { revision: token.rv, after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kubernetes_token() {
        let token = URL_SAFE_NO_PAD.decode(Page { revision: 3, after: "a".into() }.token()).expect("base64");
        assert_eq!(
            std::str::from_utf8(&token).expect("UTF-8"),
            "{\"v\":\"meta.k8s.io/v1\",\"rv\":3,\"start\":\"a\\u0000\"}"
        );
    }
}
