//! Continue tokens: whatever is taken for a token is written as one that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use page::Page;

/// The API server's own file: it is pure, and nobody else's business.
#[path = "../../crates/control/apiserver/src/registry/page.rs"]
mod page;

fuzz_target!(|text: &str| {
    if let Ok(page) = Page::parse(text) {
        assert_eq!(Page::parse(&page.token()).as_ref().ok(), Some(&page), "{text:?}");
    }
});
