//! The API server over an in-memory store, asked through its in-process service: one test per sentence of the
//! Kubernetes API's rules.

mod it;
