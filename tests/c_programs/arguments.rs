//! Arguments and documents that are no good. The gateway is there and must hear of none of it.

use crate::process::{gateway, start};

fn refuses(source: &str, case: &str) {
    let gateway = gateway();
    start(&gateway, source, case).succeeds();
    assert!(gateway.requests().is_empty(), "{case} reached the mesh");
}

macro_rules! cases {
    ($source:literal: $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            refuses($source, stringify!($case));
        }
    )*};
}

cases!("arguments":
    null_handle,
    garbage_handles,
    use_after_free,
    double_free,
    stale_after_shutdown,
    null_pointers,
    misaligned_pointers,
    invalid_utf8,
    out_of_range,
    wrong_delivery,
    last_error_is_each_threads_own,
    last_error_json_has_the_parts,
);

cases!("documents":
    malformed_config,
    wrong_values,
    unknown_key,
    deep_json,
    huge_json,
    missing_credentials,
    http_to_another_host,
    bad_capabilities,
);
