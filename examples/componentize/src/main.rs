//! Wraps a WASI preview 1 core module into a WASI 0.2 component: `componentize reactor|command IN OUT`.
//!
//! Only needed where the target `wasm32-wasip2` is not installed, which makes components by itself.

use std::error::Error;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wit_component::ComponentEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, input, output] = arguments.as_slice() else {
        return Err("usage: componentize reactor|command IN OUT".into());
    };
    let adapter = match kind.as_str() {
        "reactor" => REACTOR,
        "command" => COMMAND,
        other => return Err(format!("unknown kind of component: {other}").into()),
    };
    let module = std::fs::read(input)?;
    let component = ComponentEncoder::default().validate(true).module(&module)?.adapter(NAME, adapter)?.encode()?;
    std::fs::write(output, component)?;
    Ok(())
}
