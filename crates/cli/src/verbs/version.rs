//! `wkube version`: this program's version and the server's.

use anyhow::Result;

use crate::args::Connection;
use crate::connect::connect;
use crate::print;
use crate::verbs::read;

pub(crate) async fn run(connection: Connection) -> Result<()> {
    print::line(format!("Client Version: {}", env!("CARGO_PKG_VERSION")));
    let server = match connect(&connection).await {
        Ok(client) => read(&client, "/version", "application/json").await,
        Err(error) => Err(error),
    };
    match server {
        Ok(version) => print::line(format!("Server Version: {}", version["gitVersion"].as_str().unwrap_or("unknown"))),
        Err(error) => print::note(format!("The server did not answer: {error:#}")),
    }
    Ok(())
}
