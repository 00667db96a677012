//! A safe agent over the exported functions, in pull delivery. The only module here with unsafe code.

pub(crate) mod proxy;
pub(crate) mod raw;

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svantic::ffi::handles::svantic_mesh;
use svantic::ffi::status::{svantic_state, svantic_status};
use svantic::ffi::{dispatch, library, mesh, operations, properties, request};
use svantic_gateway::{
    Answer, DispatchRequest, Faults, Gateway, Options, PendingDispatch, Refusal,
};

/// How long anything may take before a test is given up.
pub(crate) const GUARD: Duration = Duration::from_mins(1);
const GUARD_MS: u32 = 60_000;

/// A call that failed: its status, and what `svantic_last_error` said.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: svantic_status,
    pub(crate) text: String,
}

impl Failure {
    /// Every one of `parts` must be in the text.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in {self:?}");
        }
    }
}

fn outcome(status: svantic_status) -> Result<(), Failure> {
    if status == svantic_status::Ok {
        return Ok(());
    }
    // SAFETY: svantic_last_error() is never NULL and good until this thread's next failing call.
    let text = unsafe { CStr::from_ptr(library::svantic_last_error()) };
    let text = text.to_str().expect("an error is UTF-8").to_owned();
    Err(Failure { status, text })
}

/// An agent in pull delivery, freed at the end of its scope. Everything it hands out is kept.
pub(crate) struct Agent {
    handle: usize,
    instance_id: String,
    /// Pulled, and not yet asked for.
    waiting: Mutex<VecDeque<Value>>,
    /// Everything that was ever pulled.
    history: Mutex<Vec<Value>>,
}

impl Agent {
    /// `svantic_create` with exactly this configuration.
    pub(crate) fn create(config: &Value) -> Result<Self, Failure> {
        let config = c(&config.to_string());
        let mut mesh = ptr::null_mut();
        // SAFETY: a NUL-terminated string and room for a handle, both alive for the call.
        outcome(unsafe { mesh::svantic_create(config.as_ptr(), &raw mut mesh) })?;
        let mut agent = Self {
            handle: mesh.addr(),
            instance_id: String::new(),
            waiting: Mutex::default(),
            history: Mutex::default(),
        };
        agent.instance_id = agent
            .text(properties::svantic_get_instance_id)
            .expect("it has an id");
        Ok(agent)
    }

    /// An agent for this gateway, with the capability `echo`. `more` is laid over the configuration; null removes.
    pub(crate) fn of(gateway: &Gateway, more: &Value) -> Self {
        let mut config = config(&gateway.url());
        config["client_id"] = gateway.client_id().into();
        config["client_secret"] = gateway.client_secret().into();
        Self::with(config, more)
    }

    /// An agent with this base configuration, with the capability `echo`.
    pub(crate) fn with(mut config: Value, more: &Value) -> Self {
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        config
            .as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        let agent = Self::create(&config).expect("a good configuration");
        agent.define(
            &json!({"name": "echo", "description": "returns its arguments", "parameters": {
                "type": "object", "properties": {"n": {"type": "integer"}},
            }}),
        );
        agent
    }

    pub(crate) fn connected(gateway: &Gateway, more: &Value) -> Self {
        let agent = Self::of(gateway, more);
        agent.connect().expect("a good gateway");
        agent
    }

    fn mesh(&self) -> *mut svantic_mesh {
        // A handle is an id and never dereferenced.
        ptr::without_provenance_mut(self.handle)
    }

    pub(crate) fn id(&self) -> &str {
        &self.instance_id
    }

    pub(crate) fn define(&self, spec: &Value) {
        let spec = c(&spec.to_string());
        // SAFETY: a NUL-terminated string; pull delivery takes neither handler nor user data.
        let status = unsafe {
            mesh::svantic_define_capability(self.mesh(), spec.as_ptr(), None, ptr::null_mut(), None)
        };
        outcome(status).expect("a good capability");
    }

    /// With the configured `timeout_ms`.
    pub(crate) fn connect(&self) -> Result<(), Failure> {
        outcome(operations::svantic_connect(self.mesh(), 0))
    }

    pub(crate) fn connect_async(&self, tag: usize) {
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        outcome(operations::svantic_connect_async(self.mesh(), 0, None, tag)).expect("it starts");
    }

    pub(crate) fn disconnect(&self) -> Result<(), Failure> {
        outcome(operations::svantic_disconnect(self.mesh(), 0))
    }

    pub(crate) fn disconnect_async(&self, tag: usize) {
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        outcome(operations::svantic_disconnect_async(
            self.mesh(),
            0,
            None,
            tag,
        ))
        .expect("it starts");
    }

    pub(crate) fn re_register_async(&self, tag: usize) {
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        let status = operations::svantic_re_register_async(self.mesh(), 0, None, tag);
        outcome(status).expect("it starts");
    }

    pub(crate) fn create_session_async(&self, tag: usize) {
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        // SAFETY: NULL options.
        let status = unsafe {
            operations::svantic_create_session_async(self.mesh(), ptr::null(), 0, None, tag)
        };
        outcome(status).expect("it starts");
    }

    /// Ends what was begun with this tag.
    pub(crate) fn cancel(&self, tag: usize) -> Result<(), Failure> {
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        outcome(operations::svantic_cancel(self.mesh(), tag))
    }

    pub(crate) fn refresh_token(&self, jwt: Option<&str>) -> Result<(), Failure> {
        let jwt = jwt.map(c);
        let jwt = jwt.as_ref().map_or(ptr::null(), |jwt| jwt.as_ptr());
        // SAFETY: NULL or a NUL-terminated string, alive for the call.
        outcome(unsafe { operations::svantic_refresh_token(self.mesh(), jwt, 0) })
    }

    pub(crate) fn re_register(&self) -> Result<(), Failure> {
        outcome(operations::svantic_re_register(self.mesh(), 0))
    }

    pub(crate) fn create_session(&self, timeout_ms: u32) -> Result<String, Failure> {
        let mut id = ptr::null_mut();
        // SAFETY: NULL options, and room for a pointer.
        let status = unsafe {
            operations::svantic_create_session(self.mesh(), ptr::null(), timeout_ms, &raw mut id)
        };
        outcome(status).map(|()| take(id))
    }

    pub(crate) fn close_session(&self, id: &str, timeout_ms: u32) -> Result<(), Failure> {
        let id = c(id);
        // SAFETY: a NUL-terminated string, alive for the call.
        let status =
            unsafe { operations::svantic_close_session(self.mesh(), id.as_ptr(), timeout_ms) };
        outcome(status)
    }

    /// The mesh's reply to a request of the program's own.
    pub(crate) fn request(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request_with(path, body, None, 0)
    }

    pub(crate) fn request_with(
        &self,
        path: &str,
        body: &Value,
        headers: Option<&Value>,
        timeout_ms: u32,
    ) -> Result<Value, Failure> {
        let (path, body) = (c(path), c(&body.to_string()));
        let headers = headers.map(|headers| c(&headers.to_string()));
        let headers = headers.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let mut reply = ptr::null_mut();
        // SAFETY: NULL or NUL-terminated strings, alive for the call, and room for a pointer.
        let status = unsafe {
            request::svantic_request(
                self.mesh(),
                path.as_ptr(),
                body.as_ptr(),
                headers,
                timeout_ms,
                &raw mut reply,
            )
        };
        outcome(status).map(|()| serde_json::from_str(&take(reply)).expect("JSON"))
    }

    pub(crate) fn request_async(&self, path: &str, body: &Value, tag: usize) {
        let (path, body) = (c(path), c(&body.to_string()));
        let tag: *mut c_void = ptr::without_provenance_mut(tag);
        // SAFETY: NUL-terminated strings, alive for the call, and NULL for no headers.
        let status = unsafe {
            request::svantic_request_async(
                self.mesh(),
                path.as_ptr(),
                body.as_ptr(),
                ptr::null(),
                0,
                None,
                tag,
            )
        };
        outcome(status).expect("it starts");
    }

    pub(crate) fn resolve(&self, dispatch_id: &str, result: &Value) -> Result<(), Failure> {
        let (id, result) = (c(dispatch_id), c(&result.to_string()));
        // SAFETY: NUL-terminated strings, alive for the call.
        outcome(unsafe { dispatch::svantic_resolve(self.mesh(), id.as_ptr(), result.as_ptr()) })
    }

    pub(crate) fn reject(
        &self,
        dispatch_id: &str,
        code: &str,
        message: &str,
    ) -> Result<(), Failure> {
        let (id, code, message) = (c(dispatch_id), c(code), c(message));
        // SAFETY: NUL-terminated strings, alive for the call.
        outcome(unsafe {
            dispatch::svantic_reject(self.mesh(), id.as_ptr(), code.as_ptr(), message.as_ptr())
        })
    }

    pub(crate) fn network_changed(&self) {
        outcome(mesh::svantic_network_changed(self.mesh())).expect("a good handle");
    }

    pub(crate) fn state(&self) -> i32 {
        let mut state = -1;
        // SAFETY: room for an int32_t.
        outcome(unsafe { properties::svantic_get_state(self.mesh(), &raw mut state) })
            .expect("a state");
        state
    }

    #[track_caller]
    pub(crate) fn is(&self, state: svantic_state) {
        assert_eq!(self.state(), state as i32, "{state:?} was expected");
    }

    pub(crate) fn token(&self) -> Result<String, Failure> {
        self.text(properties::svantic_get_token)
    }

    pub(crate) fn snapshot(&self) -> Value {
        let text = self
            .text(properties::svantic_get_snapshot)
            .expect("a snapshot");
        serde_json::from_str(&text).expect("JSON")
    }

    fn text(
        &self,
        read: unsafe extern "C" fn(*mut svantic_mesh, *mut *mut c_char) -> svantic_status,
    ) -> Result<String, Failure> {
        let mut text = ptr::null_mut();
        // SAFETY: every such property asks for room for a pointer.
        outcome(unsafe { read(self.mesh(), &raw mut text) }).map(|()| take(text))
    }

    /// The next item, for at most this long.
    fn pull(&self, timeout_ms: u32) -> Option<Value> {
        let mut item = ptr::null_mut();
        // SAFETY: room for a pointer.
        match outcome(unsafe { dispatch::svantic_next(self.mesh(), timeout_ms, &raw mut item) }) {
            Ok(()) => {
                let item: Value = serde_json::from_str(&take(item)).expect("an item is JSON");
                self.history.lock().unwrap().push(item.clone());
                Some(item)
            }
            Err(failure) => {
                let nothing = [svantic_status::Timeout, svantic_status::Cancelled];
                assert!(nothing.contains(&failure.status), "{failure:?}");
                None
            }
        }
    }

    /// The first item, seen or to come, that `wanted` accepts. Each is handed out once.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut waiting = self.waiting.lock().unwrap();
        if let Some(at) = waiting.iter().position(&wanted) {
            return waiting.remove(at).unwrap_or_default();
        }
        let until = Instant::now() + GUARD;
        while Instant::now() < until {
            match self.pull(GUARD_MS) {
                Some(item) if wanted(&item) => return item,
                Some(item) => waiting.push_back(item),
                None => break,
            }
        }
        panic!("{what} did not come; {:#}", Value::from(self.history()));
    }

    /// The data of an event.
    #[track_caller]
    pub(crate) fn event(&self, name: &str) -> Value {
        self.event_with(name, |_| true)
    }

    #[track_caller]
    pub(crate) fn event_with(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait(name, |item| {
            item["type"] == "event" && item["name"] == name && wanted(&item["data"])
        })["data"]
            .take()
    }

    /// Takes the state events in order, up to this one.
    #[track_caller]
    pub(crate) fn enters(&self, state: &str) {
        while self.event("state")["state"] != state {}
    }

    #[track_caller]
    pub(crate) fn dispatch(&self) -> Value {
        self.wait("a dispatch", |item| item["type"] == "dispatch")
    }

    /// Answers the next dispatch like this, and says which one it was.
    #[track_caller]
    pub(crate) fn answers(&self, result: &Value) -> String {
        let dispatch = self.dispatch();
        let id = dispatch["dispatch_id"].as_str().unwrap();
        self.resolve(id, result).unwrap();
        id.to_owned()
    }

    #[track_caller]
    pub(crate) fn done(&self, tag: usize) -> Value {
        self.wait("the outcome", |item| {
            item["type"] == "done" && item["tag"] == tag
        })
    }

    /// Everything that was handed out so far, and what waits to be.
    pub(crate) fn history(&self) -> Vec<Value> {
        let mut taken = Vec::new();
        while let Some(item) = self.pull(0) {
            taken.push(item);
        }
        if let Ok(mut waiting) = self.waiting.try_lock() {
            waiting.extend(taken);
        }
        self.history.lock().unwrap().clone()
    }

    /// Makes HTTP calls, loses its link, and serves over the next one.
    pub(crate) fn calls_and_redials(&self, gateway: &Gateway) {
        let session = self.create_session(0).unwrap();
        self.close_session(&session, 0).unwrap();
        assert!(gateway.abort(self.id()));
        self.enters("reconnecting");
        self.enters("connected");
        self.serves(gateway);
    }

    /// Answers one dispatch of the gateway's with its arguments.
    #[track_caller]
    pub(crate) fn serves(&self, gateway: &Gateway) {
        let pending = gateway.begin_dispatch(echo(json!({"n": 7})).to(self.id()));
        let id = self.dispatch_with_id(pending.id());
        self.resolve(&id, &json!({"n": 7}))
            .expect("it waits for its answer");
        assert_eq!(answer(&pending), Answer::Result(json!({"n": 7})));
    }

    #[track_caller]
    fn dispatch_with_id(&self, id: &str) -> String {
        let item = self.wait("the dispatch", |item| {
            item["type"] == "dispatch" && item["dispatch_id"] == id
        });
        item["dispatch_id"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        mesh::svantic_free(self.mesh());
    }
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

fn take(text: *mut c_char) -> String {
    // SAFETY: an out parameter of the library's, NUL-terminated; read, then freed once.
    unsafe {
        let copy = CStr::from_ptr(text).to_str().expect("UTF-8").to_owned();
        library::svantic_string_free(text);
        copy
    }
}

/// The base configuration: pull delivery, an id of its own, quick redials.
pub(crate) fn config(url: &str) -> Value {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    json!({
        "name": "desk", "description": "serves the tests", "instance_id": format!("desk-{number}"),
        "svantic_url": url, "delivery": "pull", "timeout_ms": 40_000, "reconnect_delays_ms": [0, 50],
    })
}

pub(crate) fn gateway() -> Gateway {
    Gateway::start(Options::default()).expect("a gateway")
}

/// A gateway that believes what hosted agents say of themselves: here nobody serves their cards.
pub(crate) fn gateway_without_probe() -> Gateway {
    let options = Options {
        probes_cards: false,
        ..Options::default()
    };
    Gateway::start(options).expect("a gateway")
}

/// A gateway that refuses like this from the start.
pub(crate) fn refusing(refusals: Vec<Refusal>) -> Gateway {
    let gateway = gateway();
    gateway.set_faults(Faults {
        refuse: refusals,
        ..Faults::default()
    });
    gateway
}

pub(crate) fn echo(args: Value) -> DispatchRequest {
    DispatchRequest::new("echo", args)
}

#[track_caller]
pub(crate) fn answer(pending: &PendingDispatch) -> Answer {
    pending.wait(GUARD).expect("an answer")
}

/// How many requests for `path` came.
pub(crate) fn requests(gateway: &Gateway, path: &str) -> usize {
    gateway
        .requests()
        .iter()
        .filter(|request| request.path == path)
        .count()
}

/// Waits for something at the gateway.
#[track_caller]
pub(crate) fn sees(
    gateway: &Gateway,
    what: &str,
    seen: impl FnMut(&svantic_gateway::Snapshot<'_>) -> bool,
) {
    assert!(
        gateway.wait_until(GUARD, seen),
        "the gateway never saw {what}"
    );
}

/// The `code` of an answer that is an error.
pub(crate) fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Error { code, .. } => code,
        Answer::Result(_) => "",
    }
}
