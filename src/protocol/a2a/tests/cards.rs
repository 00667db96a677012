//! The card, as both versions look at it.

use serde_json::json;

use super::super::card;

#[test]
fn one_card_is_read_by_clients_of_both_versions() {
    let old = json!({"name": "a", "url": "https://agent.test/send", "protocolVersion": "0.3.0"});
    let both = card(old.clone());
    for (member, value) in old.as_object().unwrap() {
        assert_eq!(&both[member], value);
    }
    assert_eq!(both["preferredTransport"], "JSONRPC");
    let url = "https://agent.test/send";
    assert_eq!(
        both["supportedInterfaces"],
        json!([{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
               {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}])
    );
    assert_eq!(card(both.clone()), both, "once is enough");
}

#[test]
fn a_card_that_is_somebody_elses_stays_as_it_is() {
    for own in [
        json!({"name": "a"}),
        json!({"url": 7}),
        json!([]),
        json!(null),
        json!({"url": "https://agent.test", "preferredTransport": "GRPC", "supportedInterfaces": []}),
    ] {
        assert_eq!(card(own.clone()), own);
    }
}
