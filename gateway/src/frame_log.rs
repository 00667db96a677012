//! The frames that are kept, oldest first out, and found by instance without a look at the others'.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::records::FrameRecord;

/// The newest frames of all instances.
pub(crate) struct FrameLog {
    frame_limit: usize,
    text_limit_bytes: usize,
    text_bytes: usize,
    of_instance: HashMap<Arc<str>, VecDeque<FrameRecord>>,
    /// Whose frame comes when; as long as the log.
    order: VecDeque<Arc<str>>,
}

impl FrameLog {
    pub(crate) fn new(frame_limit: usize, text_limit_bytes: usize) -> Self {
        Self {
            frame_limit: frame_limit.max(1),
            text_limit_bytes,
            text_bytes: 0,
            of_instance: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, frame: FrameRecord) {
        self.text_bytes += frame.text.len();
        let known = self.of_instance.get_key_value(&*frame.instance_id);
        let instance = known.map_or_else(
            || Arc::from(frame.instance_id.as_str()),
            |(name, _)| Arc::clone(name),
        );
        self.order.push_back(Arc::clone(&instance));
        self.of_instance
            .entry(instance)
            .or_default()
            .push_back(frame);
        // The newest stays, whatever its size.
        while self.order.len() > 1
            && (self.order.len() > self.frame_limit || self.text_bytes > self.text_limit_bytes)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(instance) = self.order.pop_front() else {
            return;
        };
        let Some(frames) = self.of_instance.get_mut(&instance) else {
            return;
        };
        if let Some(oldest) = frames.pop_front() {
            self.text_bytes -= oldest.text.len();
        }
        if frames.is_empty() {
            self.of_instance.remove(&instance);
        }
    }

    pub(crate) fn of(&self, instance_id: &str) -> impl DoubleEndedIterator<Item = &FrameRecord> {
        self.of_instance.get(instance_id).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::FrameLog;
    use crate::{Direction, FrameKind, FrameRecord};

    #[test]
    fn the_oldest_frames_go_by_count_and_by_size() {
        let mut log = FrameLog::new(3, 10);
        let mut push = |instance: &str, text: &str| {
            log.push(FrameRecord {
                instance_id: instance.to_owned(),
                connection: 1,
                direction: Direction::ToAgent,
                kind: FrameKind::Text,
                text: text.to_owned(),
                at: Duration::ZERO,
            });
            let texts = |of| log.of(of).map(|f| f.text.clone()).collect::<Vec<_>>();
            (texts("a"), texts("b"))
        };
        push("a", "1");
        push("b", "2");
        push("a", "3");
        let (a, b) = push("a", "4");
        assert_eq!((a.join(" "), b.join(" ")), ("3 4".into(), "2".into()));
        let (a, b) = push("b", "nine bytes");
        assert_eq!((a.len(), b.join(" ")), (0, "nine bytes".into()));
        assert_eq!(log.order.len(), 1);
        assert_eq!((log.text_bytes, log.of_instance.len()), (10, 1));
    }
}
