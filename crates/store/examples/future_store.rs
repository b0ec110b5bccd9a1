//! Makes a store's file one of a newer wkube, which does not exist yet: `future_store FILE`; `e2e/store` shows what is said.

#![expect(clippy::print_stdout, reason = "it says what it did")]

use std::process::ExitCode;

use redb::{Database, TableDefinition};

/// As in `redb/log.rs`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const VERSION: u64 = 99;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        println!("usage: future_store FILE");
        return ExitCode::from(2);
    };
    match claim(&file) {
        Ok(()) => {
            println!("{file} has schema version {VERSION} now");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn claim(file: &str) -> Result<(), redb::Error> {
    let database = Database::open(file)?;
    let txn = database.begin_write()?;
    txn.open_table(META)?.insert("schema", VERSION)?;
    Ok(txn.commit()?)
}
