//! An agent behind a server of its own: requests through the C ABI.

use crate::process::{Under, gateway, start_under};

macro_rules! cases {
    ($($case:ident: $under:ident),* $(,)?) => {$(
        pub(crate) fn $under(under: Under) {
            start_under(under, &gateway(), "serve", stringify!($case)).succeeds();
        }

        #[test]
        fn $case() {
            $under(Under::Nothing);
        }
    )*};
}

cases!(
    whole: whole_under,
    parts: parts_under,
    freed: freed_under,
    inside_a_handler: inside_a_handler_under,
    pulled: pulled_under,
    guarded: guarded_under,
    from_many_threads: from_many_threads_under,
);
