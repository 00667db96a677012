//! The HTTP requests that are kept, oldest first out.

use crate::records::RequestRecord;

/// The newest requests; numbered from 1 over all that ever came.
pub(crate) struct RequestLog {
    limit: usize,
    requests: Vec<RequestRecord>,
    dropped: usize,
}

impl RequestLog {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            requests: Vec::new(),
            dropped: 0,
        }
    }

    pub(crate) fn all(&self) -> &[RequestRecord] {
        &self.requests
    }

    /// Numbers a request and keeps it; returns its number.
    pub(crate) fn push(&mut self, mut request: RequestRecord) -> u64 {
        // In batches: to move the rest up costs as much as the rest is long.
        if self.requests.len() >= self.limit + self.limit / 4 {
            let excess = self.requests.len() + 1 - self.limit;
            self.requests.drain(..excess);
            self.dropped += excess;
        }
        request.seq = (self.dropped + self.requests.len()) as u64 + 1;
        let seq = request.seq;
        self.requests.push(request);
        seq
    }

    /// The request with this number, if it is still kept.
    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut RequestRecord> {
        let at = usize::try_from(seq).ok()?.checked_sub(self.dropped + 1)?;
        self.requests.get_mut(at)
    }
}
