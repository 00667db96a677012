//! Handles are ids dressed as pointers: looked up, never dereferenced, never used again. So a stale or
//! invented one is an error and not undefined behaviour.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use once_cell::sync::Lazy;

use super::delivery::DeliveryQueue;
use crate::connector::{MeshConnector, WeakConnector};
use crate::error::{Error, ErrorKind};

/// A MeshConnector and the agent it speaks for, created by svantic_create(); or a transport, created by
/// svantic_create_transport(). Released by svantic_free().
pub struct svantic_mesh {
    _private: [u8; 0],
}

/// What a handle stands for.
pub(super) struct Mesh {
    pub(super) connector: MeshConnector,
    pub(super) queue: Arc<DeliveryQueue>,
}

/// The upper bits of every id, so that small numbers and real addresses are never one.
const TAG: usize = 0x5356 << (usize::BITS - 16);

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// By their ids. Every function looks its handle up, so that is to cost little.
type Meshes = HashMap<usize, Arc<Mesh>, BuildHasherDefault<Spread>>;

static MESHES: Lazy<RwLock<Meshes>> = Lazy::new(RwLock::default);

/// Spreads ids, which are numbers in a row that nobody but this process chooses.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write_usize(&mut self, id: usize) {
        self.0 = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Keeps a mesh and returns its handle.
pub(super) fn insert(mesh: Mesh) -> *mut svantic_mesh {
    let id = TAG | NEXT.fetch_add(1, Ordering::Relaxed);
    MESHES
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id, Arc::new(mesh));
    std::ptr::without_provenance_mut(id)
}

/// What the handle stands for.
pub(super) fn get(handle: *mut svantic_mesh) -> Result<Arc<Mesh>, Error> {
    MESHES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&handle.addr())
        .cloned()
        .ok_or_else(|| invalid(handle))
}

/// What the handle stands for, if that is an agent; `function` needs one.
pub(super) fn get_agent(handle: *mut svantic_mesh, function: &str) -> Result<Arc<Mesh>, Error> {
    let mesh = get(handle)?;
    mesh.connector.require_agent(function)?;
    Ok(mesh)
}

/// Makes the handle stale.
pub(super) fn remove(handle: *mut svantic_mesh) -> Option<Arc<Mesh>> {
    MESHES
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&handle.addr())
}

/// Makes the handle stale, of an agent that is going to end in the background: whoever shuts the library down still
/// waits for it.
pub(super) fn remove_to_end(handle: *mut svantic_mesh) -> Option<Arc<Mesh>> {
    let mut meshes = MESHES.write().unwrap_or_else(PoisonError::into_inner);
    let mesh = meshes.remove(&handle.addr())?;
    let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    ending.retain(Ending::is_under_way);
    ending.push(Ending {
        connector: mesh.connector.downgrade(),
        queue: Arc::downgrade(&mesh.queue),
    });
    Some(mesh)
}

/// Makes every handle stale. The second list is of those that are ending in the background.
pub(super) fn remove_all() -> (Vec<Arc<Mesh>>, Vec<Departing>) {
    let mut meshes = MESHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<_> = meshes.drain().collect();
    let ending = std::mem::take(&mut *ENDING.lock().unwrap_or_else(PoisonError::into_inner));
    drop(meshes);
    all.sort_by_key(|(id, _)| *id);
    (
        all.into_iter().map(|(_, mesh)| mesh).collect(),
        ending.iter().filter_map(Ending::upgrade).collect(),
    )
}

/// What is left of an agent that ends in the background.
pub(super) struct Departing {
    /// Until its farewell is over.
    pub(super) connector: Option<MeshConnector>,
    /// Until what it owned is released.
    pub(super) queue: Arc<DeliveryQueue>,
}

/// An agent that ends in the background, for as long as it does.
struct Ending {
    connector: WeakConnector,
    queue: Weak<DeliveryQueue>,
}

impl Ending {
    fn is_under_way(&self) -> bool {
        self.queue.strong_count() > 0
    }

    fn upgrade(&self) -> Option<Departing> {
        let queue = self.queue.upgrade()?;
        let connector = self.connector.upgrade();
        Some(Departing { connector, queue })
    }
}

/// Locked with `MESHES` held, so that a shutdown finds an agent in one or the other.
static ENDING: Mutex<Vec<Ending>> = Mutex::new(Vec::new());

fn invalid(handle: *mut svantic_mesh) -> Error {
    let text = if handle.is_null() {
        "the mesh handle is NULL"
    } else {
        "the mesh handle was never valid or has been freed"
    };
    Error::new(ErrorKind::InvalidHandle, "INVALID_HANDLE", text)
        .hint("use the handle that svantic_create wrote, and none after svantic_free")
}
