//! Protobuf bodies: whatever decodes is encoded and decoded to the same document again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wkube_api::protobuf;

fuzz_target!(|body: &[u8]| {
    let Ok(document) = protobuf::decode(body) else { return };
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(map) = document.as_object() else { panic!("a body decodes to an object") };
    let Ok(message) = protobuf::encode_kind(&api_version, &kind, map) else { return };
    let again = protobuf::decode_kind(&api_version, &kind, &message).expect("what we encode, we decode");
    let once =
        protobuf::encode_kind(&api_version, &kind, again.as_object().expect("an object")).expect("still encodes");
    assert_eq!(message, once, "{document}");
});
