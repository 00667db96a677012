//! The one I/O thread of the process, which serves every connector (`abi.md` 7.3).
//!
//! It is started with the first connector that needs it and ended by [`shutdown`], never by `atexit` or a
//! destructor: those run while other threads still do.

mod busy_poll;
mod sleep;
mod turnstile;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use once_cell::sync::{Lazy, OnceCell};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::net::http;
use crate::net::proxy::Proxy;
use crate::net::tls::{TlsKey, TlsSetup};
pub(crate) use busy_poll::BusyPoll;
pub(crate) use sleep::{SleepWatch, Sleeper};
pub(crate) use turnstile::Turnstile;

/// Name resolution is the only work that blocks.
const MAX_BLOCKING_THREADS: usize = 2;
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(5);

/// Called first on every thread that the runtime starts.
static ON_THREAD_START: OnceCell<fn()> = OnceCell::new();

static SLOT: Lazy<Mutex<Option<Arc<Runtime>>>> = Lazy::new(|| Mutex::new(None));

/// What TLS trusts and shows, if there is TLS, and the way.
type ClientKey = (Option<TlsKey>, Option<Proxy>);

/// The running I/O thread.
pub(crate) struct Runtime {
    handle: Handle,
    stop: Arc<Notify>,
    ended: Arc<(Mutex<bool>, Condvar)>,
    /// HTTP clients by what distinguishes them: their connections live on this runtime and end with it. Held by
    /// those who use them, so that rotated certificates and their keys are not kept.
    clients: Mutex<HashMap<ClientKey, Weak<reqwest::Client>>>,
    sleep_watch: Mutex<Weak<SleepWatch>>,
    busy_poll: Mutex<Weak<BusyPoll>>,
    turnstile: Turnstile,
}

impl Runtime {
    /// Where futures are spawned.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What requests and dials start through.
    pub(crate) fn turnstile(&self) -> &Turnstile {
        &self.turnstile
    }

    /// The watch for suspensions, started if need be; it runs for as long as somebody holds it. Called on the I/O
    /// thread. `None` where nothing can tell.
    pub(crate) fn sleep_watch(&self) -> Option<Arc<SleepWatch>> {
        let mut watch = lock(&self.sleep_watch);
        if let Some(running) = watch.upgrade() {
            return Some(running);
        }
        let started = SleepWatch::start()?;
        *watch = Arc::downgrade(&started);
        Some(started)
    }

    /// The search for traffic, started if need be; it runs for as long as somebody holds it. Called on the I/O thread.
    pub(crate) fn busy_poll(&self) -> Arc<BusyPoll> {
        let mut busy_poll = lock(&self.busy_poll);
        let running = busy_poll.upgrade().unwrap_or_else(BusyPoll::start);
        *busy_poll = Arc::downgrade(&running);
        running
    }

    /// The HTTP client for this setup (`None` is plain HTTP) and proxy, shared by all connectors with the same.
    pub(crate) fn client(
        &self,
        tls: Option<&TlsSetup>,
        proxy: Option<&Proxy>,
    ) -> Result<Arc<reqwest::Client>, Error> {
        let mut clients = lock(&self.clients);
        let key = (tls.map(|tls| tls.key().clone()), proxy.cloned());
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(http::client(tls, proxy)?);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(key, Arc::downgrade(&client));
        Ok(client)
    }
}

/// Sets what every thread of the runtime calls first; only the first call counts.
pub fn on_thread_start(hook: fn()) {
    let _ = ON_THREAD_START.set(hook);
}

/// The runtime, started if need be.
pub(crate) fn get() -> Result<Arc<Runtime>, Error> {
    let mut slot = lock(&SLOT);
    if let Some(runtime) = &*slot {
        return Ok(Arc::clone(runtime));
    }
    let runtime = Arc::new(start().map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "NO_THREAD",
            format!("the I/O thread cannot be started: {error}"),
        )
    })?);
    *slot = Some(Arc::clone(&runtime));
    Ok(runtime)
}

/// Ends the I/O thread, if it runs, and waits for it for at most `timeout`. Whether it has ended.
pub fn shutdown(timeout: Duration) -> bool {
    let Some(runtime) = lock(&SLOT).take() else {
        return true;
    };
    runtime.stop.notify_one();
    let (ended, changed) = &*runtime.ended;
    let (ended, _) = changed
        .wait_timeout_while(lock(ended), timeout, |ended| !*ended)
        .unwrap_or_else(PoisonError::into_inner);
    *ended
}

fn start() -> io::Result<Runtime> {
    let tokio = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .thread_name("svantic-dns")
        .on_thread_start(prepare_thread)
        .build()?;
    let handle = tokio.handle().clone();
    let stop = Arc::new(Notify::new());
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let (stopped, has_ended) = (Arc::clone(&stop), Arc::clone(&ended));
    thread::Builder::new()
        .name("svantic-io".to_owned())
        .spawn(move || {
            prepare_thread();
            tokio.block_on(stopped.notified());
            tokio.shutdown_background();
            *lock(&has_ended.0) = true;
            has_ended.1.notify_all();
        })?;
    Ok(Runtime {
        handle,
        stop,
        ended,
        clients: Mutex::new(HashMap::new()),
        sleep_watch: Mutex::new(Weak::new()),
        busy_poll: Mutex::new(Weak::new()),
        turnstile: Turnstile::new(),
    })
}

fn prepare_thread() {
    if let Some(hook) = ON_THREAD_START.get() {
        hook();
    }
}

/// A lock whose holder has panicked still guards consistent data here: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::tls::Trust;

    fn authority() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap()
    }

    /// A `ca_file` that was replaced, even by one of the same size, is another trust.
    #[test]
    fn clients_are_shared_by_what_they_trust_and_not_by_where_it_came_from() {
        let first = authority();
        let second = std::iter::repeat_with(authority)
            .find(|other| other.der().len() == first.der().len())
            .unwrap();
        let path = std::env::temp_dir().join(format!("svantic-ca-{}.pem", std::process::id()));
        let trust_in = |authority: &rcgen::Certificate| {
            fs::write(&path, authority.pem()).unwrap();
            let path = path.to_str().unwrap().to_owned();
            Trust::new(Some(path), None).unwrap().current().0
        };
        let runtime = start().unwrap();
        let mut held = Vec::new();
        for (authority, clients) in [(&first, 1), (&first, 1), (&second, 2)] {
            let client = runtime.client(Some(&trust_in(authority)), None).unwrap();
            held.push(client);
            assert_eq!(lock(&runtime.clients).len(), clients);
        }
        // What nobody uses any more goes with the next that is made.
        held.clear();
        held.push(runtime.client(None, None).unwrap());
        assert_eq!(lock(&runtime.clients).len(), 1);
        fs::remove_file(&path).unwrap();
        runtime.stop.notify_one();
    }
}
