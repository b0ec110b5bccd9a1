//! Where the API server is and who we are: kubeconfig discovery, TLS, credentials.
